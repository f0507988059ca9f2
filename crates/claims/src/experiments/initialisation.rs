use super::{by, chrono, lstm, orthogonal, plain, scores, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict};
use crate::numbers::{median, more, solved};
use recurrent::{CellKind, RnnConfig, VanillaConfig};
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "initialisation",
            claim: "A good initialisation helps against vanishing gradients.",
            prediction: "At the start, the gradient decays more slowly; and more seeds learn the \
                task, or they learn it sooner, or to a lower loss.",
            experiment:
                "Adding problem. Before training, T = 100, 64 units: the decay per step of \
                dL/dh of a tanh network with PyTorch's and with an orthogonal recurrent matrix, \
                and of dL/dc of an LSTM with PyTorch's and with chrono biases. Then both pairs, \
                and a ReLU network with the identity, are trained at T = 50.",
            rule: "For each pair, slower: the paired interval of the difference in decay lies \
                below zero; learns: the number of solved seeds rises by at least half of all, or \
                steps to solve are fewer with their whole paired interval, or ln of the final loss \
                is lower by 0.1 with its whole interval. Supported if both pairs are slower and \
                learn; true only if one pair is slower and learns; refuted if neither pair is \
                slower; else not decided.",
            literature: const {
                &[
                Citation::read(
                    "Le, Jaitly and Hinton 2015, as cited by Cooijmans et al. 2016",
                    "sequential MNIST: ReLU network from the identity 97 %, tanh network 35 %",
                ),
                Citation::read(
                    "the repository of nnRNN",
                    "characters of the Penn Treebank, bits: 2.89 plain, 1.62 from an orthogonal \
                     matrix",
                ),
                Citation::remembered(
                    "Tallec and Ollivier 2018",
                    "chrono biases against forget bias 1 on copy and adding: faster",
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
        Arm::new("tanh-orthogonal", vanilla(orthogonal())),
        Arm::new("lstm", lstm(plain())),
        Arm::new("lstm-chrono", lstm(chrono())),
        Arm::new("relu-identity", RnnConfig::new(CellKind::Vanilla(VanillaConfig::irnn(1.0)))),
    ];
    let (mut measured, mut decays) = (Vec::new(), Vec::new());
    for arm in &arms {
        let decay = by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.decay);
        measured.push(median(format!("decay of the gradient, {}", arm.name), "per step", &decay));
        decays.push(decay);
    }
    let how = TrainingPlan { params: 5000, same_units: false, steps: 1500, overrides: Vec::new() };
    let trained = experiment.train("initialisation", "adding", 50, &how, &arms)?;
    let mut helped = Vec::new();
    for (without, with) in [(0, 1), (2, 3)] {
        let name = format!("{} minus {}", arms[with].name, arms[without].name);
        let slower = more(format!("decay, {name}"), "per step", &decays[with], &decays[without]);
        let (after, before) = (trained[with].log_losses(), trained[without].log_losses());
        let loss = more(format!("ln of the final loss, {name}"), "", &after, &before);
        let (after, before) = (trained[with].steps(), trained[without].steps());
        let steps = more(format!("steps to solve, {name}"), "steps", &after, &before);
        let learns = trained[with].solves_more_than(&trained[without])
            || steps.below(0.0)
            || loss.below(-0.1);
        helped.push((arms[with].name, slower.below(0.0), learns));
        measured.extend([slower, loss, steps]);
    }
    let words = |&(name, slower, learns): &(&str, bool, bool)| {
        format!(
            "{name}: the gradient {}, the task {}",
            if slower { "decays more slowly" } else { "is not shown to decay more slowly" },
            if learns { "is learnt better" } else { "is not shown to be learnt better" }
        )
    };
    let numbers = helped.iter().map(words).collect::<Vec<_>>().join("; ")
        + &format!("; solved: {}", scores(&trained));
    let verdict = rule([0, 1].map(|pair: usize| (helped[pair].1, helped[pair].2)));
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => {
            format!("the initialisation suits the cell and the lag: {numbers}")
        }
        _ => numbers,
    };
    measured.extend(trained.iter().map(solved));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// For each pair, whether the gradient decays more slowly, and whether the task is learnt better.
pub(super) fn rule(pairs: [(bool, bool); 2]) -> ClaimVerdict {
    match pairs.map(|(slower, learns)| slower && learns) {
        [true, true] => ClaimVerdict::Supported,
        [false, false] if pairs.iter().all(|(slower, _)| !slower) => ClaimVerdict::Refuted,
        [false, false] => ClaimVerdict::Open,
        _ => ClaimVerdict::TrueOnlyIf,
    }
}
