//! The named variants of a comparison.

use crate::{
    CellKind, Connection, GruConfig, LayerNormGruConfig, LayerNormLstmConfig,
    LayerNormVanillaConfig, LstmConfig, RecurrentDropout, Reset, ResidualLstmConfig, RnnConfig,
    VanillaConfig,
};
use recurrent_core::init::{Block, ForgetBias, Init};
use recurrent_layernorm::{Norm, Placement, Scope};

/// A named variant: recurrent layers as data, and a summary.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name, as on the command line: `lstm-chrono`.
    pub name: &'static str,
    /// A summary of one line.
    pub summary: &'static str,
    /// Whether a comparison runs it by default.
    pub default: bool,
    /// The layers. [`RnnConfig::with_longest_lag`] sets the longest lag of their chrono biases.
    pub spec: RnnConfig,
}

/// All named variants; the plain ones are first.
pub fn variants() -> Vec<Entry> {
    let orthogonal = || Init { recurrent: Block::Orthogonal { gain: 1.0 }, ..Init::default() };
    let chrono = || Init { forget_bias: ForgetBias::Chrono { longest: 100 }, ..Init::default() };
    let vanilla = |init| CellKind::Vanilla(VanillaConfig { init, ..VanillaConfig::default() });
    let lstm = |init| CellKind::Lstm(LstmConfig { init, ..LstmConfig::default() });
    let layernorm = |gain| {
        CellKind::LayerNormLstm(LayerNormLstmConfig { gain, ..LayerNormLstmConfig::default() })
    };
    let placed = |placement| {
        CellKind::LayerNormLstm(LayerNormLstmConfig { placement, ..LayerNormLstmConfig::default() })
    };
    let over_time = |cell| CellKind::TemporalResidual { cell: Box::new(cell), alpha: 0.02 };
    let two_layers = |cell| RnnConfig { layers: 2, ..RnnConfig::new(cell) };
    let connected = |connection, cell| RnnConfig { connection, ..two_layers(cell) };
    let residual = |cell| connected(Connection::Residual, cell);
    let noisy = |noise, cell| RnnConfig { recurrent_dropout: noise, ..RnnConfig::new(cell) };
    let main = |name, summary, spec| Entry { name, summary, default: true, spec };
    let more = |name, summary, spec| Entry { name, summary, default: false, spec };
    let one = RnnConfig::new;
    vec![
        main(
            "vanilla",
            "tanh network (Elman 1990), PyTorch's initialisation",
            one(vanilla(Init::default())),
        ),
        main(
            "vanilla-orthogonal",
            "tanh network, orthogonal recurrent matrix (Saxe 2014)",
            one(vanilla(orthogonal())),
        ),
        main(
            "lstm",
            "LSTM, PyTorch's initialisation: forget bias near 0",
            one(lstm(Init::default())),
        ),
        main(
            "lstm-bias1",
            "LSTM, forget bias 1 (Jozefowicz 2015)",
            one(CellKind::Lstm(LstmConfig::forget_bias(1.0))),
        ),
        main(
            "lstm-chrono",
            "LSTM, chrono biases for the task's longest lag (Tallec 2018)",
            one(lstm(chrono())),
        ),
        main("gru", "GRU, PyTorch's initialisation", one(CellKind::Gru(GruConfig::default()))),
        main(
            "residual-lstm",
            "two LSTM layers, residual over depth",
            residual(lstm(Init::default())),
        ),
        main(
            "residual-vanilla",
            "tanh network, residual over time with α = 0.02",
            one(over_time(vanilla(Init::default()))),
        ),
        main("layernorm-lstm", "layer-normed LSTM (Ba 2016), gain 1", one(layernorm(1.0))),
        main(
            "layernorm-gru",
            "layer-normed GRU (Ba 2016), gain 1",
            one(CellKind::LayerNormGru(LayerNormGruConfig::default())),
        ),
        more(
            "irnn",
            "ReLU network, identity recurrent matrix (Le 2015)",
            one(CellKind::Vanilla(VanillaConfig::irnn(1.0))),
        ),
        more(
            "lstm-2layers",
            "two LSTM layers, to compare with residual-lstm",
            two_layers(lstm(Init::default())),
        ),
        more(
            "lstm-peephole",
            "LSTM with peepholes (Gers 2002)",
            one(CellKind::Lstm(LstmConfig { peepholes: true, ..LstmConfig::default() })),
        ),
        more(
            "lstm-coupled",
            "LSTM with input gate 1 − f (Greff 2017)",
            one(CellKind::Lstm(LstmConfig { coupled: true, ..LstmConfig::default() })),
        ),
        more(
            "lstm-proj",
            "LSTM, output projected to half its units (Sak 2014, without peepholes)",
            one(CellKind::LstmHalved(LstmConfig::default())),
        ),
        more(
            "gru-v3",
            "GRU, reset before the matrix product (Cho 2014, v3)",
            one(CellKind::Gru(GruConfig { reset: Reset::Before, ..GruConfig::default() })),
        ),
        more(
            "gru-chrono",
            "GRU, chrono biases for the task's longest lag",
            one(CellKind::Gru(GruConfig::chrono(100))),
        ),
        more(
            "layernorm-lstm-gain0.1",
            "layer-normed LSTM, gain 0.1 (Cooijmans 2016)",
            one(layernorm(0.1)),
        ),
        more(
            "layernorm-vanilla",
            "layer-normed tanh network (Ba 2016), gain 1",
            one(CellKind::LayerNormVanilla(LayerNormVanillaConfig::default())),
        ),
        more(
            "layernorm-lstm-pytorch",
            "layer-normed LSTM of PyTorch's script: c carried normalised",
            one(placed(Placement::PyTorchScript)),
        ),
        more(
            "layernorm-lstm-tfa",
            "layer-normed LSTM of TensorFlow Addons: c carried normalised, eps 1e-3",
            one(placed(Placement::TfAddons)),
        ),
        more(
            "layernorm-lstm-burn",
            "layer-normed LSTM of burn: c and h carried normalised, the recurrent part not",
            one(placed(Placement::Burn)),
        ),
        more(
            "rmsnorm-lstm",
            "LSTM normalised by root mean square (Zhang and Sennrich 2019), gain 1",
            one(CellKind::LayerNormLstm(LayerNormLstmConfig {
                norm: Norm::Rms,
                ..LayerNormLstmConfig::default()
            })),
        ),
        more(
            "layernorm-lstm-per-gate",
            "layer-normed LSTM, each gate normalised separately",
            one(CellKind::LayerNormLstm(LayerNormLstmConfig {
                scope: Scope::PerGate,
                ..LayerNormLstmConfig::default()
            })),
        ),
        more(
            "residual-time-lstm",
            "LSTM, residual over time with α = 0.02",
            one(over_time(lstm(Init::default()))),
        ),
        more(
            "residual-lstm-chrono",
            "two LSTM layers, chrono biases, residual over depth",
            residual(lstm(chrono())),
        ),
        more(
            "highway-lstm",
            "two LSTM layers, highway connections over depth (Srivastava 2015)",
            connected(Connection::Highway { bias: -1.0 }, lstm(Init::default())),
        ),
        more(
            "rezero-lstm",
            "two LSTM layers, ReZero connections over depth (Bachlechner 2020)",
            connected(Connection::ReZero, lstm(Init::default())),
        ),
        more(
            "kim-residual-lstm",
            "two residual LSTM layers, input added inside the output gate (Kim 2017)",
            two_layers(CellKind::ResidualLstm(ResidualLstmConfig::default())),
        ),
        more(
            "lstm-zoneout",
            "LSTM, zoneout of 0.5 of c and 0.05 of h (Krueger 2017)",
            noisy(RecurrentDropout::zoneout(0.05, 0.5), lstm(Init::default())),
        ),
        more(
            "lstm-variational",
            "LSTM, variational dropout of 0.25 of inputs and state (Gal 2016)",
            noisy(RecurrentDropout::variational(0.25, 0.25), lstm(Init::default())),
        ),
        more(
            "lstm-weight-drop",
            "LSTM, dropout of 0.5 of the recurrent weights (Merity 2018)",
            noisy(
                RecurrentDropout { weights: 0.5, ..RecurrentDropout::default() },
                lstm(Init::default()),
            ),
        ),
        more(
            "gru-zoneout",
            "GRU, zoneout of 0.1 of h",
            noisy(RecurrentDropout::zoneout(0.1, 0.0), CellKind::Gru(GruConfig::default())),
        ),
    ]
}
