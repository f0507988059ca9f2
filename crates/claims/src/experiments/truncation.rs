use super::{chrono, lstm, scores, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{half_more, Arm, Experiment, TrainingPlan, TruncatedGradient, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict};
use crate::numbers::{median, more, solved};
use recurrent::Truncation;
use recurrent_records::config::Override;
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "truncated-bptt",
            claim: "Truncated backpropagation through time helps against vanishing gradients.",
            prediction: "With windows shorter than the lag, the lag is learnt at least as well as \
                with the whole sequence.",
            experiment: "LSTM with chrono biases on the adding problem, T = 50: the largest \
                gradient beyond the window, the error and the direction of dL/dW with windows of \
                5, 10 and 25 steps (64 units, before training); then training with 5,000 weights.",
            rule: "Refuted if the gradient beyond every window is exactly zero, and windows of 10 \
                solve fewer seeds than the whole sequence by at least half of them; supported if \
                they solve more seeds by as much; else not decided.",
            literature: const {
                &[
                    Citation::read(
                        "Tallec and Ollivier 2017, abstract",
                        "truncation keeps cost and memory low and favours short dependencies: its \
                     gradient is biased",
                    ),
                    Citation::remembered(
                        "Aicher, Foti and Fox 2019",
                        "the bias falls with the window as \
                    gradients decay",
                    ),
                ]
            },
        },
        run,
    }
}

fn run(experiment: &Experiment) -> Result<TestOutcome> {
    let length = if experiment.quick { 30 } else { 50 };
    let task = tasks::by_name("adding", Some(length), None)?;
    let whole = Arm::new("whole", lstm(chrono()));
    let window = |name, steps| {
        Arm::with(name, &lstm(chrono()), &[Override::Truncation(Some(Truncation::Every(steps)))])
    };
    let mut measured = Vec::new();
    let mut beyond = 0.0f64;
    for steps in [5, 10, 25] {
        let biases = experiment.truncations(&whole, task.as_ref(), 64, steps)?;
        beyond = biases.iter().map(|bias| bias.beyond).fold(beyond, f64::max);
        let of =
            |value: fn(&TruncatedGradient) -> f64| biases.iter().map(value).collect::<Vec<_>>();
        measured.push(median(
            format!("error of dL/dW, window {steps}"),
            "of its norm",
            &of(|bias| bias.error),
        ));
        measured.push(median(
            format!("cosine with dL/dW, window {steps}"),
            "",
            &of(|bias| bias.cosine),
        ));
    }
    measured.push(median("largest norm of dL/dh beyond a window", "", &[beyond]));
    let arms = [whole, window("window-5", 5), window("window-10", 10), window("window-25", 25)];
    let how = TrainingPlan { params: 5000, same_units: true, steps: 1000, overrides: Vec::new() };
    let trained = experiment.train("truncated-bptt", "adding", 50, &how, &arms)?;
    let losses = more(
        "ln of the final loss, window 10 minus whole",
        "",
        &trained[2].log_losses(),
        &trained[0].log_losses(),
    );
    let because = format!(
        "the gradient beyond the window is {beyond:e}; dL/dW has a cosine of {:.2} with the whole \
         one at 10 steps, {:.2} at 25; solved: {}",
        measured[3].value,
        measured[5].value,
        scores(&trained)
    );
    let verdict = rule(beyond, [trained[0].solved(), trained[2].solved()], trained[0].runs.len());
    measured.push(losses);
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The largest gradient beyond a window; the number of seeds solved with the whole sequence, and
/// with windows of 10 steps.
pub(super) fn rule(beyond: f64, [whole, window]: [usize; 2], seeds: usize) -> ClaimVerdict {
    if beyond == 0.0 && half_more(whole, window, seeds) {
        ClaimVerdict::Refuted
    } else if half_more(window, whole, seeds) {
        ClaimVerdict::Supported
    } else {
        ClaimVerdict::Open
    }
}
