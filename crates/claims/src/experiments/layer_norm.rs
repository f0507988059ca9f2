use super::{by, lstm, plain, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, Trained, TrainingPlan, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{median, more, solved};
use recurrent::layernorm::Placement;
use recurrent::{CellKind, LayerNormLstmConfig, LayerNormVanillaConfig, RnnConfig};
use recurrent_tasks as tasks;

const LITERATURE: &[Citation] = &[
    Citation::read(
        "Ba, Kiros and Hinton 2016, abstract",
        "layer norm stabilises the hidden state's dynamics in recurrent networks, and can \
         substantially reduce the time of training",
    ),
    Citation::read(
        "Cooijmans et al. 2016 (of batch norm)",
        "high variance causes vanishing gradients: a gain of 1 is bad, 0.1 good, 0.01 and less \
         unstable, with a loss at the last step alone",
    ),
    Citation::read(
        "Tolic et al. 2024, abstract",
        "chrono biases with layer norm gain up to 5 %, in some cases more than 30 %",
    ),
];

fn normed(gain: f64, placement: Placement) -> RnnConfig {
    RnnConfig::new(CellKind::LayerNormLstm(LayerNormLstmConfig {
        gain,
        placement,
        ..LayerNormLstmConfig::default()
    }))
}

fn normed_tanh(gain: f64) -> RnnConfig {
    RnnConfig::new(CellKind::LayerNormVanilla(LayerNormVanillaConfig {
        gain,
        ..LayerNormVanillaConfig::default()
    }))
}

/// The decay of the gradient at the start: for each arm, and the difference of the later arms from
/// the first.
fn decays(experiment: &Experiment, arms: &[Arm]) -> Result<(Vec<Measured>, Vec<Measured>)> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let of = |arm| Ok(by(&experiment.starts(arm, task.as_ref(), 64)?, |start| start.decay));
    let all = arms.iter().map(of).collect::<Result<Vec<_>>>()?;
    let name = |arm: &Arm| format!("decay of the gradient, {}", arm.name);
    let measured =
        arms.iter().zip(&all).map(|(arm, decay)| median(name(arm), "per step", decay)).collect();
    Ok((measured, against("decay", "per step", arms, &all)))
}

fn against(what: &str, unit: &'static str, arms: &[Arm], values: &[Vec<f64>]) -> Vec<Measured> {
    let name = |arm: usize| format!("{what}, {} minus {}", arms[arm].name, arms[0].name);
    (1..arms.len()).map(|arm| more(name(arm), unit, &values[arm], &values[0])).collect()
}

fn words(measured: &[Measured]) -> String {
    measured
        .iter()
        .map(|one| format!("{} {:+.3}", one.what, one.value))
        .collect::<Vec<_>>()
        .join("; ")
}

/// The names of the arms, from the second on, for which a condition holds.
fn names(arms: &[Arm], chosen: &[bool]) -> String {
    let names: Vec<_> = arms[1..]
        .iter()
        .zip(chosen)
        .filter(|(_, chosen)| **chosen)
        .map(|(arm, _)| arm.name)
        .collect();
    if names.is_empty() {
        "none".to_string()
    } else {
        names.join(", ")
    }
}

pub(super) fn placement() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "layer-norm",
            claim: "Layer normalisation helps against vanishing gradients.",
            prediction:
                "At gain 1 and in every placement, the gradient of an LSTM's cell state decays \
                more slowly than without layer norm, and the network learns the task better.",
            experiment: "Adding problem, T = 100, PyTorch's initialisation: LSTM plain, and \
                layer-normed at gain 1 in the placements of Ba et al. (haste), of PyTorch's \
                script, of TensorFlow Addons and of burn: the decay of dL/dc per step before \
                training. Then 200 steps of training at T = 30 with 5,000 weights each.",
            rule:
                "For each placement, slower: the paired interval of the difference in decay lies \
                below zero; learns: ln of the held-out loss is lower with its whole interval. \
                Supported if all placements are slower and learn; true only if some are slower or \
                learn; refuted if no placement is slower or learns.",
            literature: LITERATURE,
        },
        run: run_placement,
    }
}

fn run_placement(experiment: &Experiment) -> Result<TestOutcome> {
    let arms = [
        Arm::new("lstm", lstm(plain())),
        Arm::new("haste", normed(1.0, Placement::Haste)),
        Arm::new("pytorch", normed(1.0, Placement::PyTorchScript)),
        Arm::new("tfa", normed(1.0, Placement::TfAddons)),
        Arm::new("burn", normed(1.0, Placement::Burn)),
    ];
    let (mut measured, slower) = decays(experiment, &arms)?;
    let how = TrainingPlan { params: 5000, same_units: false, steps: 200, overrides: Vec::new() };
    let trained = experiment.train("layer-norm", "adding", 30, &how, &arms)?;
    let losses: Vec<_> = trained.iter().map(Trained::log_losses).collect();
    let losses = against("ln of the loss", "", &arms, &losses);
    let kept: Vec<_> = slower.iter().map(|slower| slower.below(0.0)).collect();
    let learns: Vec<_> = losses.iter().map(|loss| loss.below(0.0)).collect();
    let numbers = format!(
        "slower decay with {}; better learnt with {}: {}; {}",
        names(&arms, &kept),
        names(&arms, &learns),
        words(&slower),
        words(&losses)
    );
    let placements: Vec<_> = kept.into_iter().zip(learns).collect();
    let verdict = rule_placement(&placements);
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => format!("the placement suits: {numbers}"),
        _ => numbers,
    };
    measured.extend(slower.into_iter().chain(losses).chain(trained.iter().map(solved)));
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::of(&trained) })
}

/// For each placement, whether the gradient decays more slowly, and whether the task is learnt
/// better.
pub(super) fn rule_placement(placements: &[(bool, bool)]) -> ClaimVerdict {
    if placements.iter().all(|(slower, learns)| *slower && *learns) {
        ClaimVerdict::Supported
    } else if placements.iter().any(|(slower, learns)| *slower || *learns) {
        ClaimVerdict::TrueOnlyIf
    } else {
        ClaimVerdict::Refuted
    }
}

pub(super) fn gain() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "layer-norm-gain",
            claim: "Layer normalisation helps against vanishing gradients, whatever its gain.",
            prediction: "At every gain from 1 to 0.01, the gradient of a tanh network and of an \
                LSTM decays more slowly than without layer norm.",
            experiment: "Tanh network and LSTM (in the placement of Ba et al.) on the adding \
                problem, T = 100, PyTorch's initialisation: plain, and layer-normed with gains 1, \
                0.5, 0.1 and 0.01: the decay per step of dL/dh of the first and of dL/dc of the \
                second before training, 64 units.",
            rule:
                "Supported if the paired interval of the difference in decay lies below zero for \
                both networks at every gain; true only if it does at some gains; refuted if it \
                does at no gain.",
            literature: LITERATURE,
        },
        run: run_gain,
    }
}

fn run_gain(experiment: &Experiment) -> Result<TestOutcome> {
    let families = [
        [
            Arm::new("tanh", vanilla(plain())),
            Arm::new("tanh gain 1", normed_tanh(1.0)),
            Arm::new("tanh gain 0.5", normed_tanh(0.5)),
            Arm::new("tanh gain 0.1", normed_tanh(0.1)),
            Arm::new("tanh gain 0.01", normed_tanh(0.01)),
        ],
        [
            Arm::new("lstm", lstm(plain())),
            Arm::new("lstm gain 1", normed(1.0, Placement::Haste)),
            Arm::new("lstm gain 0.5", normed(0.5, Placement::Haste)),
            Arm::new("lstm gain 0.1", normed(0.1, Placement::Haste)),
            Arm::new("lstm gain 0.01", normed(0.01, Placement::Haste)),
        ],
    ];
    let (mut measured, mut all, mut kept, mut numbers) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for arms in &families {
        let (decays, slower) = decays(experiment, arms)?;
        let below: Vec<_> = slower.iter().map(|slower| slower.below(0.0)).collect();
        numbers.push(format!("slower decay with {}: {}", names(arms, &below), words(&slower)));
        measured.extend(decays);
        all.extend(slower);
        kept.extend(below);
    }
    let verdict = rule_gain(&kept);
    let numbers = numbers.join("; ");
    let because = match verdict {
        ClaimVerdict::TrueOnlyIf => format!("the gain suits: {numbers}"),
        _ => numbers,
    };
    measured.extend(all);
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::default() })
}

/// For each network and gain, whether the gradient decays more slowly.
pub(super) fn rule_gain(slower: &[bool]) -> ClaimVerdict {
    match (slower.iter().all(|slower| *slower), slower.iter().any(|slower| *slower)) {
        (true, _) => ClaimVerdict::Supported,
        (false, true) => ClaimVerdict::TrueOnlyIf,
        (false, false) => ClaimVerdict::Refuted,
    }
}
