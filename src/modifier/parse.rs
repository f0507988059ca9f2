//! Parses modifiers.

use super::{Normalisation, Switch};
use crate::layernorm::{Norm, NormInput, Placement, Scope};
use crate::Connection;
use candle::{bail, Result};
use recurrent_core::init::{Block, ForgetBias, Scheme};

/// The syntax, the effect and the source of each modifier. G is a gate: i, f, g, o of an LSTM; r,
/// z, n of a GRU; h of a vanilla network. Brackets mark optional parts.
pub const TABLE: &[[&str; 3]] = &[
    [
        "init=SCHEME",
        "all weights as in pytorch, keras or candle",
        "PyTorch 2, Keras 3, candle-nn 0.11",
    ],
    ["init=BLOCK", "recurrent blocks orthogonal[:GAIN] or identity[:SCALE]", "Saxe 2014; Le 2015"],
    ["init.G=SCHEME or BLOCK", "the same for one gate", ""],
    ["orthogonal[=GAIN]", "init=orthogonal:GAIN, 1 by default", "Saxe 2014, arXiv:1312.6120"],
    ["identity[=SCALE]", "init=identity:SCALE, 1 by default", "Le 2015, arXiv:1504.00941"],
    [
        "forget-bias[=B]",
        "bias of the gate that keeps the state, f or z; 1 by default",
        "Gers 2000; Jozefowicz 2015",
    ],
    [
        "chrono",
        "biases for time scales up to the task's longest lag",
        "Tallec 2018, arXiv:1804.11188",
    ],
    ["bias.G=B", "bias of one gate", ""],
    [
        "layernorm[=GAIN]",
        "layer norm, c carried without normalisation; gain 1 by default",
        "Ba 2016, arXiv:1607.06450",
    ],
    [
        "layernorm-pytorch[=GAIN]",
        "layer norm, c carried normalised (LSTM)",
        "PyTorch's custom_lstms.py",
    ],
    [
        "layernorm-tfa[=GAIN]",
        "the same with one more bias and eps 1e-3 (LSTM)",
        "TensorFlow Addons",
    ],
    ["layernorm-burn[=GAIN]", "c and h carried normalised (LSTM)", "burn's modern-lstm"],
    ["layernorm-per-gate[=GAIN]", "each gate normalised separately (LSTM, GRU)", "TensorFlow 1"],
    [
        "layernorm-apart[=GAIN]",
        "input and recurrent part normalised separately (vanilla)",
        "Ba 2016, arXiv:1607.06450",
    ],
    ["rmsnorm[=GAIN]", "divided by the root mean square alone", "Zhang 2019, arXiv:1910.07467"],
    ["gain=GAIN", "the initial gain of a normalised cell", "Cooijmans 2016, arXiv:1603.09025"],
    ["layers=N", "the number of layers", ""],
    [
        "residual",
        "connection around every layer, projected if sizes differ; also around a single layer",
        "He 2016, arXiv:1512.03385",
    ],
    ["highway[=BIAS]", "the same with a gate, whose bias is -1 by default", "Srivastava 2015"],
    ["rezero", "the same with a learned scale, 0 at first", "Bachlechner 2020"],
    [
        "residual-time[=ALPHA]",
        "h = h' + ALPHA f(x, h'), 0.02 by default",
        "Chang 2019, arXiv:1902.09689",
    ],
    [
        "zoneout[=H[:C]]",
        "rates for h and c, 0.05:0.5 by default; 0.1 without c",
        "Krueger 2017, arXiv:1606.01305",
    ],
    [
        "variational[=X[:H]]",
        "dropout with one mask for all steps, 0.25:0.25 by default",
        "Gal 2016, arXiv:1512.05287",
    ],
    [
        "weight-drop[=P]",
        "dropout of recurrent weights, 0.5 by default",
        "Merity 2018, arXiv:1708.02182",
    ],
    ["dropout=P", "dropout between layers", ""],
    ["learned-start", "the initial state is learnt", ""],
    ["relu", "max(0, x) instead of tanh (vanilla)", "Le 2015, arXiv:1504.00941"],
];

/// Parses a modifier; `None` if the name is unknown.
pub(super) fn switch(text: &str) -> Result<Option<Switch>> {
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let words = Words { name, value };
    Ok(Some(match name {
        "init" => match words.start()? {
            Start::Scheme(scheme) => Switch::Scheme(scheme),
            Start::Block(block) => Switch::Recurrent(block),
        },
        "orthogonal" => Switch::Recurrent(Block::Orthogonal { gain: words.number(Some(1.0))? }),
        "identity" => Switch::Recurrent(Block::Identity { scale: words.number(Some(1.0))? }),
        "forget-bias" => Switch::Memory(ForgetBias::Constant(words.number(Some(1.0))?)),
        "chrono" => words.alone(Switch::Memory(ForgetBias::Chrono { longest: 100 }))?,
        "layernorm" => words.norm(Normalisation::layer())?,
        "layernorm-pytorch" => words.norm(Normalisation::placed(Placement::PyTorchScript))?,
        "layernorm-tfa" => words.norm(Normalisation::placed(Placement::TfAddons))?,
        "layernorm-burn" => words.norm(Normalisation::placed(Placement::Burn))?,
        "layernorm-per-gate" => {
            words.norm(Normalisation { scope: Scope::PerGate, ..Normalisation::layer() })?
        }
        "layernorm-apart" => words
            .norm(Normalisation { parts: Some(NormInput::Separate), ..Normalisation::layer() })?,
        "rmsnorm" => words.norm(Normalisation { norm: Norm::Rms, ..Normalisation::layer() })?,
        "gain" => Switch::Gain(words.number(None)?),
        "layers" => Switch::Layers(words.count()?),
        "residual" => words.alone(Switch::Connection(Connection::Residual))?,
        "highway" => Switch::Connection(Connection::Highway { bias: words.number(Some(-1.0))? }),
        "rezero" => words.alone(Switch::Connection(Connection::ReZero))?,
        "residual-time" => Switch::TemporalResidual(words.number(Some(0.02))?),
        "zoneout" => Switch::Zoneout(words.pair()?.map(|(h, c)| (h, c.unwrap_or(0.0)))),
        "variational" => {
            let (input, recurrent) = words.pair()?.unwrap_or((0.25, None));
            Switch::Variational(input, recurrent.unwrap_or(input))
        }
        "weight-drop" => Switch::WeightDrop(words.number(Some(0.5))?),
        "dropout" => Switch::Dropout(words.number(None)?),
        "learned-start" => words.alone(Switch::LearnedStart)?,
        "relu" => words.alone(Switch::Relu)?,
        _ => match name.split_once('.') {
            Some(("init", gate)) => match words.start()? {
                Start::Scheme(scheme) => Switch::GateScheme(gate.to_string(), scheme),
                Start::Block(block) => Switch::GateBlock(gate.to_string(), block),
            },
            Some(("bias", gate)) => Switch::GateBias(gate.to_string(), words.number(None)?),
            _ => return Ok(None),
        },
    }))
}

impl Normalisation {
    fn layer() -> Self {
        Self { gain: 1.0, norm: Norm::Layer, scope: Scope::Whole, placement: None, parts: None }
    }

    fn placed(placement: Placement) -> Self {
        Self { placement: Some(placement), ..Self::layer() }
    }
}

/// An initialisation: of all weights, or of the recurrent blocks.
enum Start {
    Scheme(Scheme),
    Block(Block),
}

/// The name and the value of a modifier.
#[derive(Clone, Copy)]
struct Words<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl Words<'_> {
    /// A modifier that takes no value.
    fn alone(self, switch: Switch) -> Result<Switch> {
        match self.value {
            None => Ok(switch),
            Some(value) => bail!("remedy {}: expected no value, got {value:?}", self.name),
        }
    }

    /// The value, or the default if there is one.
    fn number(self, default: Option<f64>) -> Result<f64> {
        match (self.value, default) {
            (Some(value), _) => self.finite(value),
            (None, Some(default)) => Ok(default),
            (None, None) => bail!("remedy {0}: expected a value, {0}=X", self.name),
        }
    }

    fn finite(self, value: &str) -> Result<f64> {
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => bail!("remedy {}: expected a number, got {value:?}", self.name),
        }
    }

    fn count(self) -> Result<usize> {
        match self.value.map(str::parse) {
            Some(Ok(count @ 1..=1000)) => Ok(count),
            _ => bail!(
                "remedy {}: expected 1 to 1000, got {:?}",
                self.name,
                self.value.unwrap_or_default()
            ),
        }
    }

    /// One number, or two numbers separated by a colon.
    fn pair(self) -> Result<Option<(f64, Option<f64>)>> {
        let Some(value) = self.value else { return Ok(None) };
        Ok(Some(match value.split_once(':') {
            Some((first, second)) => (self.finite(first)?, Some(self.finite(second)?)),
            None => (self.finite(value)?, None),
        }))
    }

    fn norm(self, how: Normalisation) -> Result<Switch> {
        Ok(Switch::Norm(Normalisation { gain: self.number(Some(how.gain))?, ..how }))
    }

    fn start(self) -> Result<Start> {
        let value = self.value.unwrap_or_default();
        let (kind, factor) =
            value.split_once(':').map_or((value, None), |(kind, factor)| (kind, Some(factor)));
        let scale = factor.map_or(Ok(1.0), |factor| self.finite(factor));
        Ok(match (kind, factor) {
            ("pytorch", None) => Start::Scheme(Scheme::PyTorch),
            ("keras", None) => Start::Scheme(Scheme::Keras),
            ("candle", None) => Start::Scheme(Scheme::Candle),
            ("orthogonal", _) => Start::Block(Block::Orthogonal { gain: scale? }),
            ("identity", _) => Start::Block(Block::Identity { scale: scale? }),
            _ => bail!(
                "remedy {}: expected pytorch, keras, candle, orthogonal[:GAIN] or \
                 identity[:SCALE], got {value:?}",
                self.name
            ),
        })
    }
}
