use super::{by, gru, lstm, plain, scores, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict};
use crate::numbers::{median, more, solved};
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "gates",
            claim: "Gated variants (LSTM, GRU) solve vanishing gradients.",
            prediction: "Their gradient decays more slowly than a tanh network's from the start, \
                and they learn a lag that it does not learn.",
            experiment: "Adding problem, PyTorch's initialisation. Before training, T = 100, 64 \
                units: the decay of the gradient of the carried state (c of the LSTM, else h). \
                Then all three are trained at T = 50 with 5,000 weights each, and the decay is \
                measured again.",
            rule: "Learns: it solves more seeds than the tanh network, by at least half of all. \
                Slower: the paired interval of the difference in decay lies below zero. Supported \
                if both gated networks are slower and learn; true only if they learn, but one or \
                both are not slower at the start; refuted if neither learns; else not decided.",
            literature: const {
                &[
                Citation::read(
                    "Bai, Kolter and Koltun 2018, table 1",
                    "adding, T = 600: MSE of GRU 5.3e-5, of LSTM 0.164, of tanh 0.177; 0.167 is \
                     the loss of an answer that ignores the input",
                ),
                Citation::read(
                    "Chung et al. 2014, abstract",
                    "music and speech: gated units are better than tanh units, GRU comparable to \
                     LSTM",
                ),
            ]
            },
        },
        run,
    }
}

fn run(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let arms = [
        Arm::new("tanh", vanilla(plain())),
        Arm::new("lstm", lstm(plain())),
        Arm::new("gru", gru(plain())),
    ];
    let (mut measured, mut decays) = (Vec::new(), Vec::new());
    for arm in &arms {
        let decay = by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.decay);
        measured.push(median(format!("decay of the gradient, {}", arm.name), "per step", &decay));
        decays.push(decay);
    }
    let how = TrainingPlan { params: 5000, same_units: false, steps: 2000, overrides: Vec::new() };
    let trained = experiment.train("gates", "adding", 50, &how, &arms)?;
    let learns = [1, 2].map(|gated: usize| trained[gated].solves_more_than(&trained[0]));
    let mut slower = Vec::new();
    for gated in [1, 2] {
        let name = format!("decay, {} minus tanh", arms[gated].name);
        let difference = more(name, "per step", &decays[gated], &decays[0]);
        slower.push(difference.below(0.0));
        measured.push(difference);
    }
    let numbers = format!(
        "at the start the gradient decays by {:.2} (tanh), {:.2} (LSTM) and {:.2} (GRU) per step; \
         solved: {}",
        measured[0].value,
        measured[1].value,
        measured[2].value,
        scores(&trained)
    );
    let verdict = rule(&slower, learns);
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => {
            format!("they are trained, for at the start the gates are half open: {numbers}")
        }
        _ => numbers,
    };
    for arm in &trained {
        let decay = by(&arm.runs, |run| {
            let trained = &run.gradients.trained;
            let state = if arm.name == "lstm" { &trained.c } else { &trained.h };
            state.fit.map_or(f64::NAN, |fit| fit.decay)
        });
        measured.push(median(
            format!("decay of the gradient after training, {}", arm.name),
            "per step",
            &decay,
        ));
    }
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// For LSTM and GRU: whether their gradient decays more slowly than that of the tanh network, and
/// whether they learn a task that it does not learn.
pub(super) fn rule(slower: &[bool], learns: [bool; 2]) -> ClaimVerdict {
    match learns {
        [true, true] if slower.iter().all(|slower| *slower) => ClaimVerdict::Supported,
        [true, true] => ClaimVerdict::TrueOnlyIf,
        [false, false] => ClaimVerdict::Refuted,
        _ => ClaimVerdict::Open,
    }
}
