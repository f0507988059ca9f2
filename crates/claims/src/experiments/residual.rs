use super::{by, lstm, plain, scores, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{median, more, solved};
use recurrent::{CellKind, Connection, RnnConfig};
use recurrent_tasks as tasks;

const LAYERS: usize = 6;

const LITERATURE: &[Citation] = &[
    Citation::read(
        "Bai, Kolter and Koltun 2018",
        "residual connections over depth steady their convolutional networks",
    ),
    Citation::read(
        "the repository of ResRNN",
        "h' = h + f(x, h), a residual over time: 98.45 % on permuted sequential MNIST",
    ),
    Citation::remembered(
        "Chang et al. 2019, in the table of Rusch et al. 2022",
        "h' = h + dt f(x, h) with an antisymmetric matrix: 95.8 % on permuted sequential MNIST",
    ),
];

fn deep(connection: Connection) -> RnnConfig {
    RnnConfig { layers: LAYERS, connection, ..lstm(plain()) }
}

pub(super) fn over_depth() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "residual-depth",
            claim: "Residual connections over depth help gradients to reach the lower layers.",
            prediction: "In a deep stack, the bottom layer's gradient is nearer to the top \
                layer's, and the stack learns better.",
            experiment: "Six LSTM layers of 32 units with PyTorch's initialisation on the adding \
                problem, T = 50: before training, log10 of the norm of dL/dh of the bottom layer \
                over that of the top, with and without residuals. Then training.",
            rule: "Supported if the paired interval of the difference in log10 lies above zero by \
                0.5 (a factor of 3), and training does not get worse (ln of the final loss not \
                higher with its whole interval); refuted if it lies below 0.5; else not decided.",
            literature: LITERATURE,
        },
        run: run_over_depth,
    }
}

fn run_over_depth(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 20 } else { 50 }), None)?;
    let arms = [
        Arm::new("plain", deep(Connection::None)),
        Arm::new("residual", deep(Connection::Residual)),
    ];
    let starts: Vec<_> =
        arms.iter().map(|arm| experiment.starts(arm, task.as_ref(), 32)).collect::<Result<_>>()?;
    let depth: Vec<_> = starts.iter().map(|starts| by(starts, |start| start.depth)).collect();
    let change = more("log10 of bottom over top, residual minus plain", "", &depth[1], &depth[0]);
    let how = TrainingPlan { params: 10_000, same_units: true, steps: 1000, overrides: Vec::new() };
    let trained = experiment.train("residual-depth", "adding", 50, &how, &arms)?;
    let losses = more(
        "ln of the final loss, residual minus plain",
        "",
        &trained[1].log_losses(),
        &trained[0].log_losses(),
    );
    let because = format!(
        "the bottom layer's gradient over the top layer's changes by a factor of 10^{:.1}; ln of \
         the final loss changes by {:+.2} ({:+.2} to {:+.2}); solved: {}",
        change.value,
        losses.value,
        losses.low,
        losses.high,
        scores(&trained)
    );
    let verdict = rule_over_depth(&change, &losses);
    let mut measured = vec![
        median("log10 of bottom over top, plain", "", &depth[0]),
        median("log10 of bottom over top, residual", "", &depth[1]),
        change,
        losses,
    ];
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The increase of log10 of bottom over top, and the change of ln of the final loss.
pub(super) fn rule_over_depth(change: &Measured, losses: &Measured) -> ClaimVerdict {
    if change.above(0.5) && !losses.above(0.0) {
        ClaimVerdict::Supported
    } else if change.below(0.5) {
        ClaimVerdict::Refuted
    } else {
        ClaimVerdict::Open
    }
}

pub(super) fn depth_for_time() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "residual-depth-time",
            claim: "Residual connections over depth help against vanishing over time.",
            prediction: "With them, a layer's dL/dh decays more slowly from step to step, and a \
                longer lag is learnt.",
            experiment: "One LSTM layer of 64 units on the adding problem, T = 100, with a \
                residual around it and without: the Jacobian of its state over 50 steps for the \
                same inputs and weights; two layers with and without: the decay of dL/dh per step \
                before training, and training at T = 50.",
            rule:
                "Refuted if the Jacobians are equal bit by bit, and neither is the decay smaller \
                by 0.02 per step with its whole paired interval nor does the number of solved \
                seeds rise by at least half of all; supported if both happen; true only if \
                training alone gets better; else not decided.",
            literature: LITERATURE,
        },
        run: run_depth_for_time,
    }
}

fn run_depth_for_time(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let layers = |layers, connection| RnnConfig { layers, connection, ..lstm(plain()) };
    let one = [
        Arm::new("plain", layers(1, Connection::None)),
        Arm::new("residual", layers(1, Connection::Residual)),
    ];
    let apart = experiment.jacobians_apart(&one, task.as_ref(), 64, 50)?;
    let apart = median("largest difference between both Jacobians over 50 steps", "", &apart);
    let arms = [
        Arm::new("plain", layers(2, Connection::None)),
        Arm::new("residual", layers(2, Connection::Residual)),
    ];
    let decays: Vec<_> = arms
        .iter()
        .map(|arm| Ok(by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.decay_h)))
        .collect::<Result<_>>()?;
    let slower = more(
        "decay of dL/dh in the top layer, residual minus plain",
        "per step",
        &decays[1],
        &decays[0],
    );
    let how = TrainingPlan { params: 5000, same_units: true, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("residual-depth-time", "adding", 50, &how, &arms)?;
    let learns = trained[1].solves_more_than(&trained[0]);
    let numbers = format!(
        "the Jacobians differ by {:e} at most; in a stack of two layers the decay per step changes \
         by {:+.3} ({:+.3} to {:+.3}); solved: {}",
        apart.high,
        slower.value,
        slower.low,
        slower.high,
        scores(&trained)
    );
    let verdict = rule_depth_for_time(apart.high, &slower, learns);
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => {
            format!("one means training, not the gradient over time: {numbers}")
        }
        _ => numbers,
    };
    let mut measured = vec![
        apart,
        median("decay of dL/dh, plain", "per step", &decays[0]),
        median("decay of dL/dh, residual", "per step", &decays[1]),
        slower,
    ];
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The difference of the Jacobians, the change of the decay per step, and whether half of the seeds
/// more are solved.
pub(super) fn rule_depth_for_time(apart: f64, slower: &Measured, learns: bool) -> ClaimVerdict {
    match (slower.below(-0.02), learns) {
        (true, true) => ClaimVerdict::Supported,
        (false, true) => ClaimVerdict::TrueOnlyIf,
        (false, false) if apart == 0.0 => ClaimVerdict::Refuted,
        _ => ClaimVerdict::Open,
    }
}

pub(super) fn over_time() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "residual-time",
            claim: "Residual connections over time help against vanishing gradients.",
            prediction: "With h' = h + α f(x, h) a tanh network's dL/dh hardly decays, and it \
                learns a lag that it does not learn without the connection.",
            experiment: "Tanh network on the adding problem, T = 100, with α = 0.02 and without: \
                the decay of dL/dh per step before training (64 units), and training at T = 50 \
                with 5,000 weights.",
            rule: "Supported if the decay is smaller with its whole paired interval, and the \
                number of solved seeds rises by at least half of all or ln of the final loss is \
                lower by 0.1 with its whole interval; true only if the decay alone is smaller; \
                refuted if neither is so; else not decided.",
            literature: LITERATURE,
        },
        run: run_over_time,
    }
}

fn run_over_time(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let cell = Box::new(vanilla(plain()).cell);
    let arms = [
        Arm::new("tanh", vanilla(plain())),
        Arm::new("residual", RnnConfig::new(CellKind::TemporalResidual { cell, alpha: 0.02 })),
    ];
    let decays: Vec<_> = arms
        .iter()
        .map(|arm| Ok(by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.decay_h)))
        .collect::<Result<_>>()?;
    let slower = more("decay of dL/dh, residual minus plain", "per step", &decays[1], &decays[0]);
    let how = TrainingPlan { params: 5000, same_units: false, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("residual-time", "adding", 50, &how, &arms)?;
    let losses = more(
        "ln of the final loss, residual minus plain",
        "",
        &trained[1].log_losses(),
        &trained[0].log_losses(),
    );
    let learns = trained[1].solves_more_than(&trained[0]) || losses.below(-0.1);
    let numbers = format!(
        "the decay per step changes by {:+.3} ({:+.3} to {:+.3}), ln of the final loss by {:+.2} \
         ({:+.2} to {:+.2}); solved: {}",
        slower.value,
        slower.low,
        slower.high,
        losses.value,
        losses.low,
        losses.high,
        scores(&trained)
    );
    let verdict = rule_over_time(slower.below(0.0), learns);
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => {
            format!("the claim is about the gradient, not about learning: {numbers}")
        }
        _ => numbers,
    };
    let mut measured = vec![
        median("decay of dL/dh, plain", "per step", &decays[0]),
        median("decay of dL/dh, residual over time", "per step", &decays[1]),
        slower,
        losses,
    ];
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// Whether the gradient decays more slowly, and whether the task is learnt better.
pub(super) fn rule_over_time(slower: bool, learns: bool) -> ClaimVerdict {
    match (slower, learns) {
        (true, true) => ClaimVerdict::Supported,
        (true, false) => ClaimVerdict::TrueOnlyIf,
        (false, false) => ClaimVerdict::Refuted,
        (false, true) => ClaimVerdict::Open,
    }
}
