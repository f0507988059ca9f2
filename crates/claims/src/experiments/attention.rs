use super::{by, plain, scores, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{median, more, solved};
use recurrent_records::config::{Override, Readout};
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "attention",
            claim: "Attention over the hidden states solves vanishing gradients.",
            prediction:
                "With attention, dL/dh at the first steps is as large as near the end, and it \
                stays so when attention's own path is cut, because the recurrence itself is \
                cured.",
            experiment: "Tanh network on the adding problem, T = 100, PyTorch's initialisation: \
                log10 of dL/dh at the first step over that at the last, before training (64 \
                units), with a plain read-out, with attention, and with attention whose own path \
                is detached; then training at T = 50 with 5,000 weights.",
            rule: "Supported if attention raises that log10 by 1 or more with its whole paired \
                interval, both attached and detached; true only if the direct path is counted, if \
                it does so attached alone; refuted if it raises it by less than 1 attached, with \
                its whole interval; else not decided.",
            literature: const {
                &[
                Citation::read(
                    "Ke et al. 2017, arXiv 1711.02326, abstract",
                    "attention over the past hidden states, with the gradient through high \
                     attention weights, learns long dependencies while it backpropagates through \
                     few steps",
                ),
                Citation::remembered(
                    "Kerg et al. 2020",
                    "with attention over all states, the gradient has a path of length 1 to each \
                     of them",
                ),
            ]
            },
        },
        run,
    }
}

fn run(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let read = |name, readout| Arm::with(name, &vanilla(plain()), &[Override::Readout(readout)]);
    let arms = [
        read("plain", Readout::Plain),
        read("attention", Readout::Attention),
        read("detached", Readout::AttentionDetached),
    ];
    let (mut measured, mut far) = (Vec::new(), Vec::new());
    for arm in &arms {
        let values = by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.far);
        measured.push(median(
            format!("log10 of dL/dh, first over last step, {}", arm.name),
            "",
            &values,
        ));
        far.push(values);
    }
    let attached = more("the same, attention minus plain", "", &far[1], &far[0]);
    let detached = more("the same, detached minus plain", "", &far[2], &far[0]);
    let how = TrainingPlan { params: 5000, same_units: false, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("attention", "adding", 50, &how, &arms)?;
    let numbers = format!(
        "dL/dh at the first step over that at the last is 10^{:.1} with a plain read-out, 10^{:.1} \
         with attention, 10^{:.1} with its path detached; solved: {}",
        measured[0].value,
        measured[1].value,
        measured[2].value,
        scores(&trained)
    );
    let verdict = rule(&attached, &detached);
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => {
            format!(
                "the direct path from the loss is counted; the recurrence itself decays as before: \
                 {numbers}"
            )
        }
        _ => numbers,
    };
    measured.extend([attached, detached]);
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The increase of log10 of dL/dh at the first step over that at the last step, with attention and
/// with its path detached.
pub(super) fn rule(attached: &Measured, detached: &Measured) -> ClaimVerdict {
    match (attached.above(1.0), detached.above(1.0)) {
        (true, true) => ClaimVerdict::Supported,
        (true, false) => ClaimVerdict::TrueOnlyIf,
        (false, _) if attached.below(1.0) => ClaimVerdict::Refuted,
        (false, _) => ClaimVerdict::Open,
    }
}
