use super::*;
use crate::record::{Outcome, RunRecord, Status};
use crate::sample;
use anyhow::Result;
use std::collections::BTreeMap;

/// A run of a variant with the given steps to solve (of 2,000), loss, and rate of decay and horizon
/// before and after training.
fn run(
    variant: &str,
    seed: u64,
    steps: Option<u64>,
    loss: f64,
    rate: f64,
    horizon: usize,
) -> RunRecord {
    let fit = recurrent_measures::Fit { decay: rate, r2: 1.0, points: 50, underflowed: 0 };
    let mut run = sample::run("lstm", 1);
    (run.config.model.variant, run.config.seed) = (variant.to_string(), seed);
    let solved = steps.is_some();
    run.outcome = Outcome { solved, steps_to_solve: steps, final_loss: loss, ..run.outcome };
    for phase in [&mut run.gradients.init, &mut run.gradients.trained] {
        (phase.h.fit, phase.h.horizon) = (Some(fit), Some(horizon));
    }
    run
}

/// Five seeds of a base and of one modifier that improves every measure.
fn better() -> Records {
    let mut records = Records::default();
    for seed in 0..5 {
        let base = run("lstm", seed, Some(1000 + 10 * seed), 0.1, 0.4, 10);
        let modifier = run("lstm+chrono", seed, Some(600 + 20 * seed), 0.05, -0.1, 90);
        records.runs.extend([base, modifier]);
    }
    records
}

fn effects(records: &Records) -> BTreeMap<&'static str, Effect> {
    let effects = all(&["lstm", "lstm+chrono"], records);
    effects.into_iter().map(|effect| (effect.measure.title(), effect)).collect()
}

#[test]
fn differences_are_paired() {
    let mut records = better();
    records.runs.reverse(); // pairs are matched by seed
    let effects = effects(&records);
    assert_eq!(effects.len(), Measure::ALL.len());
    let steps = &effects["steps to solve"];
    // The differences are -400, -390, -380, -370 and -360. With α = 0.00095 the lower end is the
    // third of 3,125 sums, four times -400 and once -390; the upper end likewise.
    assert_eq!((steps.effect, steps.low, steps.high), (Some(-380.0), Some(-398.0), Some(-362.0)));
    assert_eq!((steps.base_median, steps.modifier_median), (Some(1020.0), Some(640.0)));
    assert_eq!((steps.p, steps.pairs, steps.margin), (Some(0.0625), 5, 200.0));
    let decay = &effects["half-life at initialisation"];
    assert!((decay.effect.expect("five pairs") + 0.3).abs() < 1e-12, "|-0.1| - |0.4|");
    assert_eq!((decay.base_median, decay.modifier_median), (Some(0.4), Some(-0.1)));
    assert_eq!(
        (decay.base_half_life, decay.modifier_half_life),
        (Some(std::f64::consts::LN_2 / 0.4), None)
    );
    let loss = &effects["final loss"];
    assert!((loss.effect.expect("five pairs") - 0.5_f64.ln()).abs() < 1e-12);
    assert_eq!(effects["horizon after training"].effect, Some(80.0));
    assert!(effects.values().all(|effect| effect.verdict == Verdict::Helps), "{effects:?}");
}

#[test]
fn a_reversed_effect_hurts() {
    let mut records = better();
    for run in &mut records.runs {
        run.config.model.variant =
            if run.config.model.variant == "lstm" { "lstm+chrono" } else { "lstm" }.to_string();
    }
    assert!(effects(&records).values().all(|effect| effect.verdict == Verdict::Hurts));
}

#[test]
fn a_verdict_needs_five_pairs_an_interval_and_a_margin() {
    let mut four = better();
    four.runs.retain(|run| run.config.seed < 4);
    assert!(effects(&four).values().all(|effect| effect.verdict == Verdict::NotEnoughEvidence));

    let with = |change: &dyn Fn(&mut RunRecord)| {
        let mut records = better();
        let modifier =
            records.runs.iter_mut().filter(|run| run.config.model.variant == "lstm+chrono");
        modifier.for_each(change);
        effects(&records)["final loss"].verdict
    };
    assert_eq!(with(&|run| run.outcome.final_loss = 0.1), Verdict::NoEffectShown, "the same");
    assert_eq!(
        with(&|run| run.outcome.final_loss = 0.085),
        Verdict::NoEffectShown,
        "always lower, but by less than a quarter"
    );
    assert_eq!(with(&|run| run.outcome.final_loss = 0.079), Verdict::Helps, "by more");
    assert_eq!(
        with(&|run| run.outcome.final_loss = if run.config.seed == 0 { 0.3 } else { 0.05 }),
        Verdict::NotEnoughEvidence
    );
    let noisy = |run: &mut RunRecord| {
        run.outcome.final_loss = [0.08, 0.12, 0.1, 0.13, 0.09][run.config.seed as usize]
    };
    assert_eq!(with(&noisy), Verdict::NotEnoughEvidence, "the effect may be a third or nothing");
}

#[test]
fn runs_that_did_not_converge_count() {
    let mut records = better();
    for run in records.runs.iter_mut().filter(|run| run.config.model.variant == "lstm") {
        (run.outcome.solved, run.outcome.steps_to_solve) = (false, None);
    }
    let steps = &effects(&records)["steps to solve"];
    assert_eq!((steps.base_median, steps.base_solved, steps.modifier_solved), (Some(2000.0), 0, 5));
    assert_eq!((steps.effect, steps.verdict), (Some(-1360.0), Verdict::Helps));
    for run in &mut records.runs {
        (run.outcome.solved, run.outcome.steps_to_solve) = (false, None);
    }
    let steps = &effects(&records)["steps to solve"];
    assert_eq!((steps.effect, steps.low), (Some(0.0), Some(0.0)));
    assert_eq!(
        steps.verdict,
        Verdict::NotEnoughEvidence,
        "no run solved it, so there is no verdict"
    );
}

#[test]
fn failed_runs_count_as_the_worst_and_interrupted_ones_are_left_out() {
    let mut records = better();
    for run in records.runs.iter_mut().filter(|run| run.config.model.variant == "lstm+chrono") {
        match run.config.seed {
            1 => {
                (run.status, run.outcome.final_loss) =
                    (Status::Failed("NaN".to_string()), f64::NAN);
                (run.outcome.solved, run.outcome.steps_to_solve) = (false, None);
                run.gradients.trained.h.horizon = None;
            }
            2 => run.status = Status::Stopped,
            3 => (run.gradients.init.h.fit, run.gradients.trained.h.fit) = (None, None),
            _ => {}
        }
    }
    let effects = effects(&records);
    let loss = &effects["final loss"];
    assert_eq!((loss.pairs, loss.left_out.as_slice(), loss.modifier_failed), (4, &[2][..], 1));
    assert_eq!((loss.base_runs, loss.modifier_runs), (5, 4));
    let worst = (1.0_f64 / 6.0 / 0.1).ln(); // the baseline, which exceeds every loss
    let expected = (3.0 * 0.5_f64.ln() + worst) / 4.0;
    assert!((loss.effect.expect("four pairs") - expected).abs() < 1e-12, "{loss:?}");
    let steps = &effects["steps to solve"];
    assert_eq!(
        (steps.pairs, steps.effect),
        (4, Some((-400.0 + (2000.0 - 1010.0) - 370.0 - 360.0) / 4.0))
    );
    assert_eq!(effects["horizon after training"].left_out, [1, 2]);
    assert_eq!(effects["half-life at initialisation"].left_out, [3]);
    assert_eq!(effects["half-life after training"].left_out, [1, 2, 3]);
    assert_eq!(effects["horizon at initialisation"].pairs, 5);
}

#[test]
fn real_data_has_no_steps_to_solve() {
    let mut records = better();
    records.runs.iter_mut().for_each(|run| {
        (run.config.task.criterion, run.outcome.solved, run.outcome.steps_to_solve) =
            (None, false, None)
    });
    let effects = effects(&records);
    assert!(!effects.contains_key("steps to solve") && effects.len() == 5);
}

#[test]
fn a_line_is_read_back_unchanged() -> Result<()> {
    for effect in all(&["lstm", "lstm+chrono"], &better()) {
        let line = serde_json::to_string(&effect)?;
        assert_eq!(serde_json::from_str::<Effect>(&line)?, effect);
    }
    let line = serde_json::to_value(&effects(&better())["final loss"])?;
    assert_eq!((&line["measure"], &line["verdict"]), (&"final-loss".into(), &"helps".into()));
    Ok(())
}
