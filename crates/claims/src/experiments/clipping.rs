use super::{by, orthogonal, plain, scores, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{half_more, Arm, Experiment, Trained, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{median, more, solved};
use recurrent::core::init::{Block, Init};
use recurrent::{CellKind, Nonlinearity, RnnConfig, VanillaConfig};
use recurrent_records::config::{Clipping, Override};
use recurrent_tasks as tasks;

pub(super) fn vanishing() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "clipping-vanishing",
            claim: "Gradient clipping cures vanishing gradients.",
            prediction: "After clipping by the global norm, more of the update comes from far \
                back, and a tanh network learns a lag that it does not learn without clipping.",
            experiment: "Two tanh networks of 64 units on the adding problem, T = 100, before \
                training. One has an orthogonal recurrent matrix, and a part of its dL/dW comes \
                from far back; the other has PyTorch's initialisation. Measured are the share of \
                dL/dW from the first half of the sequence, before and after clipping to a tenth of \
                its norm, and the angle between both updates. Then the second network is trained \
                at T = 50 with clipping at 0.1, at 1, and without.",
            rule: "Refuted if, at every seed, the share of the orthogonal network changes by less \
                than a millionth of itself and the cosine between both updates is 1 to within \
                1e-9, and clipping does not raise the number of solved seeds; supported if the \
                share grows by 10 % at every seed, or clipping raises the number of solved seeds \
                by at least half of all; else not decided.",
            literature: const {
                &[
                Citation::read(
                    "Pascanu, Mikolov and Bengio 2013, abstract",
                    "gradient norm clipping for exploding gradients, and a soft constraint for the \
                     vanishing gradients problem: two remedies for two problems",
                ),
                Citation::read(
                    "stats.stackexchange.com, question 625560",
                    "quotes a course that teaches clipping against both",
                ),
            ]
            },
        },
        run: run_vanishing,
    }
}

fn run_vanishing(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let usual = experiment.starts(&Arm::new("tanh", vanilla(plain())), task.as_ref(), 64)?;
    let usual = median(
        "share of dL/dW from the first half, PyTorch's",
        "",
        &by(&usual, |start| start.share),
    );
    let starts =
        experiment.starts(&Arm::new("orthogonal", vanilla(orthogonal())), task.as_ref(), 64)?;
    let before = median("the same, orthogonal", "", &by(&starts, |start| start.share));
    let after = median("the same, orthogonal, clipped", "", &by(&starts, |start| start.clipped.0));
    let change = by(&starts, |start| start.clipped.0 / start.share - 1.0);
    let turned = by(&starts, |start| start.clipped.1.abs());
    let verdict_change = median("change of that share", "of itself", &change);
    let verdict_turned = median("one minus the cosine between both updates", "", &turned);
    let clip = |name, clip| Arm::with(name, &vanilla(plain()), &[Override::Clip(clip)]);
    let arms = [
        clip("not-clipped", Clipping::Off),
        clip("clip-1", Clipping::GlobalNorm(1.0)),
        clip("clip-0.1", Clipping::GlobalNorm(0.1)),
    ];
    let how = TrainingPlan { params: 5000, same_units: true, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("clipping-vanishing", "adding", 50, &how, &arms)?;
    let losses = more(
        "ln of the final loss, clipped at 0.1 minus not clipped",
        "",
        &trained[2].log_losses(),
        &trained[0].log_losses(),
    );
    let largest =
        |values: &[f64]| values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let because = format!(
        "clipping changes the share of the gradient from far back by {:.0e} of itself at most, and \
         turns the update by 1 - cos = {:.0e} at most; solved: {}",
        largest(&change),
        largest(&turned),
        scores(&trained)
    );
    let solves: Vec<_> = trained.iter().map(Trained::solved).collect();
    let verdict = rule_vanishing(&change, &turned, [solves[0], solves[1].max(solves[2])]);
    let mut measured = vec![usual, before, after, verdict_change, verdict_turned, losses];
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// By seed, the relative change of the share, and one minus the cosine; then the number of seeds
/// solved without clipping and with the better bound.
pub(super) fn rule_vanishing(change: &[f64], turned: &[f64], solved: [usize; 2]) -> ClaimVerdict {
    let [without, with] = solved;
    let exact = change.iter().all(|change| change.abs() < 1e-6)
        && turned.iter().all(|turned| *turned < 1e-9);
    if change.iter().all(|change| *change > 0.1) || half_more(with, without, change.len()) {
        ClaimVerdict::Supported
    } else if exact && with <= without {
        ClaimVerdict::Refuted
    } else {
        ClaimVerdict::Open
    }
}

pub(super) fn exploding() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "clipping-exploding",
            claim: "Gradient clipping cures exploding gradients.",
            prediction:
                "A network whose gradient grows towards the first steps fails or learns badly \
                without clipping, and learns with it.",
            experiment: "ReLU network with an identity recurrent matrix scaled by 1.02 on the \
                adding problem, T = 100: the growth of dL/dh before training; then training at T = \
                50 without clipping and with clipping at 1.",
            rule:
                "Supported if dL/dh grows, and clipping either raises the number of solved seeds \
                by at least half of all, or ln of the final loss is lower with its paired interval \
                below zero; refuted if dL/dh grows and it is higher with the interval above zero; \
                else not decided.",
            literature: const {
                &[
                    Citation::read(
                        "Pascanu, Mikolov and Bengio 2013, abstract",
                        "a gradient norm clipping strategy to deal with exploding gradients",
                    ),
                    Citation::remembered(
                        "Pascanu, Mikolov and Bengio 2013, experiments",
                        "clipping alone helps with temporal order, where gradients explode",
                    ),
                ]
            },
        },
        run: run_exploding,
    }
}

fn run_exploding(experiment: &Experiment) -> Result<TestOutcome> {
    let init = Init { recurrent: Block::Identity { scale: 1.02 }, ..plain() };
    let config =
        VanillaConfig { nonlinearity: Nonlinearity::Relu, init, ..VanillaConfig::default() };
    let spec = RnnConfig::new(CellKind::Vanilla(config));
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let starts = experiment.starts(&Arm::new("relu", spec.clone()), task.as_ref(), 64)?;
    let growth = median(
        "decay of dL/dh (negative: growth)",
        "per step",
        &by(&starts, |start| start.decay_h),
    );
    let arms = [
        Arm::with("not-clipped", &spec, &[Override::Clip(Clipping::Off)]),
        Arm::with("clip-1", &spec, &[Override::Clip(Clipping::GlobalNorm(1.0))]),
    ];
    let how = TrainingPlan { params: 5000, same_units: true, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("clipping-exploding", "adding", 50, &how, &arms)?;
    let losses = more(
        "ln of the final loss, clipped minus not clipped",
        "",
        &trained[1].log_losses(),
        &trained[0].log_losses(),
    );
    let mut because = format!(
        "dL/dh grows by a factor of {:.3} per step; clipping changes ln of the final loss by \
         {:+.2} ({:+.2} to {:+.2}); solved: {}; runs that failed: {} without, {} with",
        (-growth.value).exp(),
        losses.value,
        losses.low,
        losses.high,
        scores(&trained),
        trained[0].failed(),
        trained[1].failed()
    );
    let more_solved = trained[1].solves_more_than(&trained[0]);
    let verdict = rule_exploding(&growth, &losses, more_solved);
    if verdict == ClaimVerdict::Supported && more_solved {
        because += ". Related: where gradients explode, clipping helps indirectly to learn a long \
            lag, because a network whose gradient reaches that far becomes trainable";
    }
    let norms = |arm: &Trained| by(&arm.runs, |run| run.clipping.norm_before.unwrap_or(f64::NAN));
    let clipped = |arm: &Trained| by(&arm.runs, |run| run.clipping.fraction);
    let mut measured = vec![
        growth,
        median("mean norm of dL/dW in training, not clipped", "", &norms(&trained[0])),
        median("the same before the clip, clipped at 1", "", &norms(&trained[1])),
        median("training steps that were clipped", "of all", &clipped(&trained[1])),
        losses,
    ];
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// The decay of dL/dh, negative if it grows; ln of the loss with clipping minus without; whether
/// clipping solves at least half of the seeds more.
pub(super) fn rule_exploding(
    growth: &Measured,
    losses: &Measured,
    more_solved: bool,
) -> ClaimVerdict {
    match growth.below(0.0) {
        true if more_solved || losses.below(0.0) => ClaimVerdict::Supported,
        true if losses.above(0.0) => ClaimVerdict::Refuted,
        _ => ClaimVerdict::Open,
    }
}
