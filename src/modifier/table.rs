//! The table of the modifiers of a network.

use super::{Normalisation, Switch};
use crate::layernorm::{Norm, NormInput, Placement, Scope};
use crate::Connection;
use recurrent_core::init::{Block, ForgetBias, Scheme};
use recurrent_core::modifier::{ModifierError, ModifierRow, ModifierValue};

/// The syntax, the effect, the source and the switch of each modifier. G is a gate: i, f, g, o of
/// an LSTM; r, z, n of a GRU; h of a vanilla network.
pub(super) const TABLE: &[ModifierRow<Switch>] = &[
    ModifierRow::new(
        "init=SCHEME",
        "all weights as in pytorch, keras or candle",
        "PyTorch 2, Keras 3, candle-nn 0.11",
        init,
    ),
    ModifierRow::new(
        "init=BLOCK",
        "recurrent blocks orthogonal[:GAIN] or identity[:SCALE]",
        "Saxe 2014; Le 2015",
        init,
    ),
    ModifierRow::new("init.G=SCHEME or BLOCK", "the same for one gate", "", gate_init),
    ModifierRow::new(
        "orthogonal[=GAIN]",
        "init=orthogonal:GAIN, 1 by default",
        "Saxe 2014, arXiv:1312.6120",
        |v| Ok(Switch::Recurrent(Block::Orthogonal { gain: v.number_or(1.0)? })),
    ),
    ModifierRow::new(
        "identity[=SCALE]",
        "init=identity:SCALE, 1 by default",
        "Le 2015, arXiv:1504.00941",
        |v| Ok(Switch::Recurrent(Block::Identity { scale: v.number_or(1.0)? })),
    ),
    ModifierRow::new(
        "forget-bias[=B]",
        "bias of the gate that keeps the state, f or z; 1 by default",
        "Gers 2000; Jozefowicz 2015",
        |v| Ok(Switch::Memory(ForgetBias::Constant(v.number_or(1.0)?))),
    ),
    ModifierRow::new(
        "chrono",
        "biases for time scales up to the task's longest lag",
        "Tallec 2018, arXiv:1804.11188",
        |_| Ok(Switch::Memory(ForgetBias::Chrono { longest: 100 })),
    ),
    ModifierRow::new("bias.G=B", "bias of one gate", "", |v| {
        Ok(Switch::GateBias(v.gate().to_string(), v.number()?))
    }),
    ModifierRow::new(
        "layernorm[=GAIN]",
        "layer norm, c carried without normalisation; gain 1 by default",
        "Ba 2016, arXiv:1607.06450",
        |v| norm(v, LAYER),
    ),
    ModifierRow::new(
        "layernorm-pytorch[=GAIN]",
        "layer norm, c carried normalised (LSTM)",
        "PyTorch's custom_lstms.py",
        |v| norm(v, placed(Placement::PyTorchScript)),
    ),
    ModifierRow::new(
        "layernorm-tfa[=GAIN]",
        "the same with one more bias and eps 1e-3 (LSTM)",
        "TensorFlow Addons",
        |v| norm(v, placed(Placement::TfAddons)),
    ),
    ModifierRow::new(
        "layernorm-burn[=GAIN]",
        "c and h carried normalised (LSTM)",
        "burn's modern-lstm",
        |v| norm(v, placed(Placement::Burn)),
    ),
    ModifierRow::new(
        "layernorm-per-gate[=GAIN]",
        "each gate normalised separately (LSTM, GRU)",
        "TensorFlow 1",
        |v| norm(v, Normalisation { scope: Scope::PerGate, ..LAYER }),
    ),
    ModifierRow::new(
        "layernorm-apart[=GAIN]",
        "input and recurrent part normalised separately (vanilla)",
        "Ba 2016, arXiv:1607.06450",
        |v| norm(v, Normalisation { parts: Some(NormInput::Separate), ..LAYER }),
    ),
    ModifierRow::new(
        "rmsnorm[=GAIN]",
        "divided by the root mean square alone",
        "Zhang 2019, arXiv:1910.07467",
        |v| norm(v, Normalisation { norm: Norm::Rms, ..LAYER }),
    ),
    ModifierRow::new(
        "gain=GAIN",
        "the initial gain of a normalised cell",
        "Cooijmans 2016, arXiv:1603.09025",
        |v| Ok(Switch::Gain(v.number()?)),
    ),
    ModifierRow::new("layers=N", "the number of layers", "", |v| {
        Ok(Switch::Layers(v.count_to(1000)?))
    }),
    ModifierRow::new(
        "residual",
        "connection around every layer, projected if sizes differ; also around a single layer",
        "He 2016, arXiv:1512.03385",
        |_| Ok(Switch::Connection(Connection::Residual)),
    ),
    ModifierRow::new(
        "highway[=BIAS]",
        "the same with a gate, whose bias is -1 by default",
        "Srivastava 2015",
        |v| Ok(Switch::Connection(Connection::Highway { bias: v.number_or(-1.0)? })),
    ),
    ModifierRow::new(
        "rezero",
        "the same with a learned scale, 0 at first",
        "Bachlechner 2020",
        |_| Ok(Switch::Connection(Connection::ReZero)),
    ),
    ModifierRow::new(
        "residual-time[=ALPHA]",
        "h = h' + ALPHA f(x, h'), 0.02 by default",
        "Chang 2019, arXiv:1902.09689",
        |v| Ok(Switch::TemporalResidual(v.number_or(0.02)?)),
    ),
    ModifierRow::new(
        "zoneout[=H[:C]]",
        "rates for h and c, 0.05:0.5 by default; 0.1 without c",
        "Krueger 2017, arXiv:1606.01305",
        |v| Ok(Switch::Zoneout(v.pair()?.map(|(h, c)| (h, c.unwrap_or(0.0))))),
    ),
    ModifierRow::new(
        "variational[=X[:H]]",
        "dropout with one mask for all steps, 0.25:0.25 by default",
        "Gal 2016, arXiv:1512.05287",
        |v| {
            let (input, recurrent) = v.pair()?.unwrap_or((0.25, None));
            Ok(Switch::Variational(input, recurrent.unwrap_or(input)))
        },
    ),
    ModifierRow::new(
        "weight-drop[=P]",
        "dropout of recurrent weights, 0.5 by default",
        "Merity 2018, arXiv:1708.02182",
        |v| Ok(Switch::WeightDrop(v.number_or(0.5)?)),
    ),
    ModifierRow::new("dropout=P", "dropout between layers", "", |v| {
        Ok(Switch::Dropout(v.number()?))
    }),
    ModifierRow::new("learned-start", "the initial state is learnt", "", |_| {
        Ok(Switch::LearnedStart)
    }),
    ModifierRow::new(
        "relu",
        "max(0, x) instead of tanh (vanilla)",
        "Le 2015, arXiv:1504.00941",
        |_| Ok(Switch::Relu),
    ),
];

/// Layer norm over all gates.
const LAYER: Normalisation = Normalisation {
    gain: 1.0,
    norm: Norm::Layer,
    scope: Scope::Whole,
    placement: None,
    parts: None,
};

fn placed(placement: Placement) -> Normalisation {
    Normalisation { placement: Some(placement), ..LAYER }
}

fn norm(value: &ModifierValue, how: Normalisation) -> Result<Switch, ModifierError> {
    Ok(Switch::Norm(Normalisation { gain: value.number_or(how.gain)?, ..how }))
}

/// An initialisation: of all weights, or of the recurrent blocks.
enum Start {
    Scheme(Scheme),
    Block(Block),
}

fn init(value: &ModifierValue) -> Result<Switch, ModifierError> {
    Ok(match start(value)? {
        Start::Scheme(scheme) => Switch::Scheme(scheme),
        Start::Block(block) => Switch::Recurrent(block),
    })
}

fn gate_init(value: &ModifierValue) -> Result<Switch, ModifierError> {
    let gate = value.gate().to_string();
    Ok(match start(value)? {
        Start::Scheme(scheme) => Switch::GateScheme(gate, scheme),
        Start::Block(block) => Switch::GateBlock(gate, block),
    })
}

fn start(value: &ModifierValue) -> Result<Start, ModifierError> {
    Ok(match value.word()? {
        ("pytorch", None) => Start::Scheme(Scheme::PyTorch),
        ("keras", None) => Start::Scheme(Scheme::Keras),
        ("candle", None) => Start::Scheme(Scheme::Candle),
        ("orthogonal", gain) => Start::Block(Block::Orthogonal { gain: gain.unwrap_or(1.0) }),
        ("identity", scale) => Start::Block(Block::Identity { scale: scale.unwrap_or(1.0) }),
        _ => {
            return Err(
                value.unexpected("pytorch, keras, candle, orthogonal[:GAIN] or identity[:SCALE]")
            )
        }
    })
}
