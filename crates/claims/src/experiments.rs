//! The experiments, one or two claims per file, in the order in which they run.

mod attention;
mod clipping;
mod forget_gate;
mod gates;
mod initialisation;
mod layer_norm;
mod norm;
mod residual;
mod truncation;

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::experiment::{Experiment, Trained, Unconverged};
use crate::finding::{Claim, ClaimVerdict, Measured};
use recurrent::core::init::{Block, ForgetBias, Init};
use recurrent::{CellKind, GruConfig, LstmConfig, RnnConfig, VanillaConfig};

/// A claim and its test.
pub(crate) struct ClaimTest {
    pub(crate) claim: Claim,
    pub(crate) run: fn(&Experiment) -> Result<TestOutcome>,
}

/// The measurements of an experiment, and the verdict of the claim's rule.
pub(crate) struct TestOutcome {
    pub(crate) measured: Vec<Measured>,
    pub(crate) verdict: ClaimVerdict,
    /// The reason in words and numbers. A conditional verdict begins with the condition.
    pub(crate) because: String,
    pub(crate) runs: Unconverged,
}

/// All claims.
pub(crate) fn all() -> Vec<ClaimTest> {
    vec![
        forget_gate::experiment(),
        clipping::vanishing(),
        clipping::exploding(),
        initialisation::experiment(),
        gates::experiment(),
        residual::over_depth(),
        residual::depth_for_time(),
        residual::over_time(),
        layer_norm::placement(),
        layer_norm::gain(),
        truncation::experiment(),
        attention::experiment(),
        norm::experiment(),
    ]
}

fn vanilla(init: Init) -> RnnConfig {
    RnnConfig::new(CellKind::Vanilla(VanillaConfig { init, ..VanillaConfig::default() }))
}

fn lstm(init: Init) -> RnnConfig {
    RnnConfig::new(CellKind::Lstm(LstmConfig { init, ..LstmConfig::default() }))
}

fn gru(init: Init) -> RnnConfig {
    RnnConfig::new(CellKind::Gru(GruConfig { init, ..GruConfig::default() }))
}

fn plain() -> Init {
    Init::default()
}

fn chrono() -> Init {
    Init { forget_bias: ForgetBias::Chrono { longest: 100 }, ..plain() } // the task sets the lag
}

fn bias(sum: f64) -> Init {
    Init { forget_bias: ForgetBias::Constant(sum), ..plain() }
}

fn orthogonal() -> Init {
    Init { recurrent: Block::Orthogonal { gain: 1.0 }, ..plain() }
}

/// `3 of 5 seeds`.
fn of_seeds(trained: &Trained) -> String {
    format!("{} {} of {}", trained.name, trained.solved(), trained.runs.len())
}

/// The number of seeds that every arm solved, in words.
fn scores(trained: &[Trained]) -> String {
    trained.iter().map(of_seeds).collect::<Vec<_>>().join(", ")
}

fn by<T>(values: &[T], of: impl Fn(&T) -> f64) -> Vec<f64> {
    values.iter().map(of).collect()
}
