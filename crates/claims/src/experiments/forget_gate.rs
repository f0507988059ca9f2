use super::{bias, by, chrono, lstm, scores, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{median, more, solved, steps_to_solve};
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "forget-gate",
            claim: "An LSTM's forget gate near 1 makes the gradient vanish.",
            prediction: "The larger the forget gate's bias, the faster dL/dc decays from step to \
                step.",
            experiment: "LSTM of 64 units on the adding problem, T = 200, before training: the \
                forget gate's mean, and the decay of dL/dc per step, at forget biases -2, 0, 1, 3 \
                and 5. Then training at T = 50 with biases 0, 1, 3 and chrono.",
            rule:
                "Refuted if the decay per step is smaller at bias 5 than at bias 0, and smaller at \
                0 than at -2, each with its whole paired interval; supported if both are larger in \
                the same way; else not decided.",
            literature: const {
                &[
                Citation::read(
                    "Hochreiter and Schmidhuber 1997",
                    "the constant error carousel, which carries the cell state, has a weight of \
                     exactly 1.0",
                ),
                Citation::read(
                    "Bai, Kolter and Koltun 2018, table 3",
                    "their tuned LSTMs for the adding problem use forget biases 5 (T = 200) and 10 \
                     (T = 400)",
                ),
                Citation::read(
                    "Tallec and Ollivier 2018, abstract",
                    "to set the gates' biases by the range of lags (chrono) greatly improves the \
                     learning of long dependencies",
                ),
            ]
            },
        },
        run,
    }
}

fn run(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 200 }), None)?;
    let arms = [
        Arm::new("bias -2", lstm(bias(-2.0))),
        Arm::new("bias 0", lstm(bias(0.0))),
        Arm::new("bias 1", lstm(bias(1.0))),
        Arm::new("bias 3", lstm(bias(3.0))),
        Arm::new("bias 5", lstm(bias(5.0))),
    ];
    let (mut measured, mut decays, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    for arm in &arms {
        let starts = experiment.starts(arm, task.as_ref(), 64)?;
        let name = arm.name;
        measured.push(median(
            format!("mean forget gate, {name}"),
            "",
            &by(&starts, |start| start.gates["f"]),
        ));
        measured.push(median(
            format!("decay of dL/dc, {name}"),
            "per step",
            &by(&starts, |start| start.decay),
        ));
        let slope =
            median(format!("mean slope f(1 - f), {name}"), "", &by(&starts, |start| start.slope));
        slopes.push(slope.value);
        measured.push(slope);
        decays.push(by(&starts, |start| start.decay));
    }
    let open = more("decay of dL/dc, bias 5 minus bias 0", "per step", &decays[4], &decays[1]);
    let shut = more("decay of dL/dc, bias 0 minus bias -2", "per step", &decays[1], &decays[0]);
    let how = TrainingPlan { params: 5000, same_units: true, steps: 2000, overrides: Vec::new() };
    let arms = [
        Arm::new("bias-0", lstm(bias(0.0))),
        Arm::new("bias-1", lstm(bias(1.0))),
        Arm::new("bias-3", lstm(bias(3.0))),
        Arm::new("chrono", lstm(chrono())),
    ];
    let trained = experiment.train("forget-gate", "adding", 50, &how, &arms)?;
    let steps: Vec<_> = trained
        .iter()
        .map(|arm| format!("{} {:.0}", arm.name, steps_to_solve(arm).value))
        .collect();
    let numbers = format!(
        "the decay per step changes by {:+.3} from bias 0 to 5 and by {:+.3} from bias -2 to 0. \
         Related: the gate's own weights learn by a slope of {:.4} at bias 5 and of {:.4} at bias \
         0; solved: {}; steps to solve: {}",
        open.value,
        shut.value,
        slopes[4],
        slopes[1],
        scores(&trained),
        steps.join(", ")
    );
    let verdict = rule(&open, &shut);
    let because = match verdict {
        ClaimVerdict::Refuted => format!("a gate near 0 makes it vanish: {numbers}"),
        _ => numbers,
    };
    measured.extend([open, shut]);
    measured.extend(trained.iter().map(solved));
    measured.extend(trained.iter().map(steps_to_solve));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The change of the decay per step from bias 0 to 5, and from bias -2 to 0.
pub(super) fn rule(open: &Measured, shut: &Measured) -> ClaimVerdict {
    if open.below(0.0) && shut.below(0.0) {
        ClaimVerdict::Refuted
    } else if open.above(0.0) && shut.above(0.0) {
        ClaimVerdict::Supported
    } else {
        ClaimVerdict::Open
    }
}
