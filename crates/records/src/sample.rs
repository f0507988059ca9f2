//! Synthetic records for the tests: profiles that are exact exponentials, and losses that fall at
//! chosen steps.

use crate::config::{Budget, ModelConfig, RunConfig, TrainingConfig};
use crate::record::{
    ClippingSummary, EvalRecord, GradientSummary, Outcome, PhaseGradients, ProfileRecord, Records,
    RunRecord, StateGradients, Status, StepRecord, SCHEMA,
};
use crate::task::{Criterion, TaskConfig};
use recurrent_measures::Fit;
use std::collections::BTreeMap;
use std::f64::consts::LN_2;

/// The length of the sequences.
pub const LENGTH: usize = 100;
/// The training steps allowed.
const MAX_STEPS: u64 = 2000;
/// The baseline of the adding problem.
const BASELINE: f64 = 1.0 / 6.0;

/// A synthetic variant. Half-lives are in steps; negative ones are doubling times.
#[derive(Clone, Copy)]
pub struct Plan {
    pub name: &'static str,
    pub layers: usize,
    pub cell: bool,
    pub init: f64,
    pub last: f64,
    /// The step at which the task is solved, for seeds 1, 2 and 3.
    pub solve: [Option<u64>; 3],
}

const fn plan(
    name: &'static str,
    (layers, cell): (usize, bool),
    init: f64,
    last: f64,
    solve: [Option<u64>; 3],
) -> Plan {
    Plan { name, layers, cell, init, last, solve }
}

/// The ten variants of the default comparison, with made-up numbers.
pub const TEN: [Plan; 10] = [
    plan("vanilla", (1, false), 0.8, 0.9, [None; 3]),
    plan("vanilla-orthogonal", (1, false), 12.0, 9.0, [None; 3]),
    plan("lstm", (1, true), 2.2, 31.0, [Some(1450), Some(1400), Some(1700)]),
    plan("lstm-bias1", (1, true), 4.5, 60.0, [Some(1150), Some(900), Some(1050)]),
    plan("lstm-chrono", (1, true), 89.0, 110.0, [Some(500), Some(550), Some(450)]),
    plan("gru", (1, false), 2.0, 80.0, [Some(900), Some(850), Some(1000)]),
    plan("residual-lstm", (2, true), 2.6, 50.0, [Some(1500), None, Some(1600)]),
    plan("residual-vanilla", (1, false), -34.0, 70.0, [Some(700), Some(900), Some(800)]),
    plan("layernorm-lstm", (1, true), 5.0, 24.0, [None, None, Some(1900)]),
    plan("layernorm-gru", (1, false), 3.2, 95.0, [Some(800), Some(750), Some(950)]),
];

/// Four of the ten variants, and a fifth whose third run failed and whose second was stopped. The
/// name of the fifth must be escaped.
pub fn records() -> Records {
    let broken = plan("broken & <b>", (1, false), 1.0, 1.0, [None; 3]);
    let mut records = compare(&[TEN[0], TEN[2], TEN[4], TEN[6], broken]);
    for run in records.runs.iter_mut().filter(|run| run.config.model.variant == broken.name) {
        run.config.model.summary = "a \"cell\" with <script>alert('no')</script> & more".to_owned();
        if run.config.seed == 2 {
            (run.status, run.outcome.steps) = (Status::Stopped, 310);
        }
        if run.config.seed == 3 {
            run.status = Status::Failed("the loss is not a number at step 40".to_owned());
            (run.outcome.steps, run.outcome.final_loss) = (40, f64::NAN);
            run.gradients.trained.h = StateGradients::default();
        }
    }
    records.steps.retain(|step| step.variant != broken.name || step.seed != 3 || step.step <= 40);
    records.evals.retain(|eval| eval.variant != broken.name || eval.seed != 3 || eval.step == 0);
    records
        .profiles
        .retain(|profile| profile.variant != broken.name || profile.seed != 3 || profile.step == 0);
    records
}

/// Three seeds of each plan.
pub fn compare(plans: &[Plan]) -> Records {
    let mut records = Records::default();
    for (plan, seed) in plans.iter().flat_map(|plan| (1..=3).map(move |seed| (plan, seed))) {
        add(&mut records, plan, seed);
    }
    records
}

/// One run of one of the ten.
pub fn run(variant: &str, seed: u64) -> RunRecord {
    let plan = TEN.iter().find(|plan| plan.name == variant).expect("one of the ten");
    let mut records = Records::default();
    add(&mut records, plan, seed);
    let mut run = records.runs.remove(0);
    if seed == 1 {
        (run.gradients.init.h.half_life, run.gradients.trained.h.half_life) =
            (Some(plan.init), Some(plan.last));
    }
    run
}

/// The half-life for a seed: a tenth shorter for the first, a tenth longer for the third.
fn of_seed(half_life: f64, seed: u64) -> f64 {
    half_life * (0.8 + 0.1 * seed as f64)
}

fn add(records: &mut Records, plan: &Plan, seed: u64) {
    let solve = plan.solve[seed as usize - 1];
    let end = solve.map_or(MAX_STEPS, |step| step + 100);
    let rate = |done: f64| {
        LN_2 / of_seed(plan.init, seed) * (1.0 - done) + LN_2 / of_seed(plan.last, seed) * done
    };
    let loss = |step: u64| match solve {
        Some(solve) => {
            let from = 0.6 * solve as f64;
            BASELINE
                * (1.0 - 0.0002 * step as f64).max(0.9)
                * (-(step as f64 - from).max(0.0) / (0.14 * from)).exp()
        }
        None => BASELINE * (1.0 + 0.02 * (-(step as f64) / 100.0).exp()),
    };
    let wobble = |step: u64| 1.0 + 0.15 * ((step * 7919 + seed * 104_729) as f64).sin();
    for step in 1..=end {
        records.steps.push(StepRecord {
            variant: plan.name.to_owned(),
            seed,
            step,
            loss: loss(step) * wobble(step),
            lr: 5e-3,
            grad_norm: 1.4,
            grad_norm_clipped: 1.0,
        });
    }
    for step in (0..=end).step_by(50) {
        let (variant, loss) =
            (plan.name.to_owned(), loss(step) * (1.0 + 0.1 * (wobble(step * 31) - 1.0)));
        records.evals.push(EvalRecord { variant, seed, step, loss, accuracy: None });
    }
    let mut moments: Vec<u64> = (0..end).step_by(100).collect();
    moments.push(end);
    for step in moments {
        let half_life = LN_2 / rate(step as f64 / end as f64);
        for layer in 0..plan.layers {
            // A layer below the top has the same decay at a smaller scale.
            let scale = 0.3_f64.powi((plan.layers - 1 - layer) as i32);
            for part in if plan.cell { vec!["h", "c"] } else { vec!["h"] } {
                let mut profile = profile(plan.name, part, seed, step, half_life);
                (profile.layer, profile.last) = (layer, step == end);
                for list in
                    [&mut profile.median, &mut profile.q25, &mut profile.q75, &mut profile.mean]
                {
                    list.iter_mut().for_each(|norm| *norm = f64::from((*norm * scale) as f32));
                }
                records.profiles.push(profile);
            }
        }
    }
    records.runs.push(summary(plan, seed, end, [rate(0.0), rate(1.0)], loss(end)));
}

/// The line of `runs.jsonl` for a run with these decays before and after training.
fn summary(plan: &Plan, seed: u64, end: u64, rates: [f64; 2], final_loss: f64) -> RunRecord {
    let half_life = |rate: f64| (rate > 0.0).then(|| LN_2 / rate);
    let [before, after] = rates;
    let ratio = |rate: f64| Some((-rate * (LENGTH - 1) as f64).exp());
    let horizon = |rate: f64| {
        let lag = if rate > 0.0 { (1000f64.ln() / rate) as usize } else { LENGTH - 1 };
        Some(lag.min(LENGTH - 1))
    };
    let state = |rate: f64| StateGradients {
        half_life: half_life(rate),
        fit: Some(Fit { decay: rate, r2: 0.98, points: 81, underflowed: 0 }),
        ..StateGradients::default()
    };
    let phase = |rate: f64| PhaseGradients {
        h: StateGradients { horizon: horizon(rate), ratio: ratio(rate), ..state(rate) },
        c: if plan.cell { state(rate) } else { StateGradients::default() },
    };
    let solve = plan.solve[seed as usize - 1];
    RunRecord {
        schema: SCHEMA,
        config: config(plan, seed),
        status: Status::Finished,
        outcome: Outcome {
            steps: end,
            solved: solve.is_some(),
            steps_to_solve: solve,
            final_loss,
            accuracy: None,
            generalisation: Vec::new(),
            threads: 1,
            seconds: 12.3 + seed as f64,
            measure_seconds: BTreeMap::new(),
        },
        gradients: GradientSummary { init: phase(before), trained: phase(after) },
        clipping: ClippingSummary {
            fraction: 0.213,
            scale: Some(0.9),
            norm_before: Some(1.2),
            norm_after: Some(0.8),
        },
        spectral_radius: BTreeMap::from([("weight_hh_l0".to_owned(), 0.58 + 0.01 * seed as f64)]),
        warnings: Vec::new(),
    }
}

fn config(plan: &Plan, seed: u64) -> RunConfig {
    let task = TaskConfig {
        name: "adding".to_owned(),
        length: LENGTH,
        longest_lag: LENGTH - 1,
        held_out: 1000,
        baseline: BASELINE,
        criterion: Some(Criterion::LossBelow(0.01)),
        ..TaskConfig::default()
    };
    let model = ModelConfig {
        variant: plan.name.to_owned(),
        summary: format!("a synthetic {}", plan.name),
        init: "PyTorch".to_owned(),
        options: BTreeMap::from([("forget_bias".to_owned(), "0".to_owned())]),
        hidden: if plan.cell { 32 } else { 68 },
        layers: plan.layers,
        params: 4801,
    };
    let training = TrainingConfig { budget: Budget::Steps(MAX_STEPS), ..TrainingConfig::default() };
    RunConfig { version: "0.1.0".to_owned(), task, model, training, seed }
}

/// A profile that halves every `half_life` lags, as f32 would hold it: too small values are zero.
pub fn profile(variant: &str, part: &str, seed: u64, step: u64, half_life: f64) -> ProfileRecord {
    let lag: Vec<usize> = (0..=LENGTH).collect(); // the last lag is that of the initial carry
    let norm = |&lag: &usize| {
        let structural = if part == "c" && lag == 0 { 0.0 } else { 1.0 };
        let ripple = 1.0 + 0.1 * ((lag as f64) / 3.0 + seed as f64).sin();
        f64::from((0.2 * structural * ripple * (-LN_2 / half_life * lag as f64).exp()) as f32)
    };
    let median: Vec<f64> = lag.iter().map(norm).collect();
    let times = |factor: f64| median.iter().map(|norm| norm * factor).collect();
    ProfileRecord {
        variant: variant.to_owned(),
        seed,
        step,
        last: false,
        layer: 0,
        direction: "forward".to_owned(),
        part: part.to_owned(),
        q25: times(0.7),
        q75: times(1.4),
        mean: times(0.5),
        zeros: median.iter().map(|&norm| f64::from(u8::from(norm == 0.0))).collect(),
        subnormals: vec![0.0; LENGTH + 1],
        median,
        lag,
    }
}

/// A run, and the profile of one part of its state. The gradient halves every `half_life` lags
/// exactly, or doubles if that is negative.
pub fn exact(part: &str, half_life: f64) -> (RunRecord, ProfileRecord) {
    let mut run = run("gru", 1);
    run.gradients.init.h.half_life = (half_life > 0.0).then_some(half_life);
    let decay = LN_2 / half_life;
    run.gradients.init.h.fit = Some(Fit { decay, r2: 0.9, points: 80, underflowed: 0 });
    run.gradients.init.h.ratio = None; // the profile has it
    let mut profile = profile("gru", part, 1, 0, half_life);
    for (lag, norm) in profile.lag.iter().zip(profile.median.iter_mut()) {
        *norm = f64::from((-decay * *lag as f64).exp() as f32); // without the ripple
    }
    (run, profile)
}
