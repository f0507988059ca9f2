//! Modifiers of an [`RnnConfig`]: named changes, most of them against vanishing
//! gradients.

mod table;

use crate::layernorm::{Norm, NormInput, Placement, Scope};
use crate::{
    CellKind, Connection, GruConfig, LayerNormGruConfig, LayerNormLstmConfig,
    LayerNormVanillaConfig, LstmConfig, Nonlinearity, RecurrentDropout, Reset, RnnConfig,
    VanillaConfig,
};
use candle_core::{bail, DType, Device, Result};
use candle_nn::VarBuilder;
use recurrent_core::init::{Block, ForgetBias, Scheme};
use recurrent_core::modifier as grammar;

pub use recurrent_core::modifier::ModifierSpec;

/// A modifier of a network, as on a command line: `forget-bias=1`, `layernorm`,
/// `init.g=orthogonal:0.9`.
///
/// [`specs`] lists all of them. Weights that a modifier does not change start with the same bits as
/// without it, because they are drawn from (seed, name).
///
/// ```
/// use recurrent::{modifier::Modifier, registry, CellKind};
///
/// # fn main() -> candle_core::Result<()> {
/// let lstm = registry::variants().into_iter().find(|entry| entry.name == "lstm");
/// let lstm = lstm.map(|entry| entry.spec);
/// let lstm = lstm.expect("the registry has an LSTM");
/// let chrono = Modifier::parse("chrono")?.expect("a modifier of a network");
/// let chrono = chrono.apply("lstm", &lstm)?;
/// let layernorm = Modifier::parse("layernorm=0.5")?.expect("a modifier of a network");
/// let normed = layernorm.apply("lstm+chrono", &chrono)?;
/// assert!(matches!(normed.cell, CellKind::LayerNormLstm(_)));
/// // `RnnConfig::with_longest_lag` replaces 100 by the longest lag of the task.
/// assert_eq!(normed.init_summary(), "PyTorch, chrono(100)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Modifier {
    text: String,
    switch: Switch,
}

/// The syntax, the effect and the source of each modifier of a network.
pub fn specs() -> impl Iterator<Item = ModifierSpec> + Clone {
    table::TABLE.iter().map(|row| row.spec)
}

/// The effect of a modifier.
#[derive(Clone, Debug, PartialEq)]
enum Switch {
    Scheme(Scheme),
    Recurrent(Block),
    GateScheme(String, Scheme),
    GateBlock(String, Block),
    Memory(ForgetBias),
    GateBias(String, f64),
    Norm(Normalisation),
    Gain(f64),
    Layers(usize),
    Connection(Connection),
    TemporalResidual(f64),
    /// The rates of h and c; if not given, defaults that depend on the cell.
    Zoneout(Option<(f64, f64)>),
    Variational(f64, f64),
    WeightDrop(f64),
    Dropout(f64),
    LearnedStart,
    Relu,
}

/// The normalisation of a cell. `placement` and `parts` apply to some cells only.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Normalisation {
    gain: f64,
    norm: Norm,
    scope: Scope,
    placement: Option<Placement>,
    parts: Option<NormInput>,
}

impl Modifier {
    /// Parses a modifier: its name, and its value after `=` if it takes one. `None` if the name is
    /// not in [`specs`]; modifiers of the training are elsewhere.
    ///
    /// # Errors
    /// If the value is missing, or not of the kind in [`specs`].
    pub fn parse(text: &str) -> Result<Option<Self>> {
        match grammar::parse(table::TABLE, text) {
            Ok(switch) => Ok(switch.map(|switch| Self { text: text.to_string(), switch })),
            Err(error) => bail!("{error}"),
        }
    }

    /// The layers with this modifier; `variant` is their name in messages.
    ///
    /// # Errors
    /// If it does not apply to these layers, or does not change them. The message has one line with
    /// both names.
    pub fn apply(&self, variant: &str, spec: &RnnConfig) -> Result<RnnConfig> {
        let tried = self.applied(spec).and_then(|applied| {
            if applied == *spec {
                bail!("it changes nothing there")
            }
            // Only a built cell knows its gates and the fields of its state.
            let zeros = VarBuilder::zeros(DType::F32, &Device::Cpu);
            applied.with_longest_lag(100).build(2, 4, zeros)?;
            Ok(applied)
        });
        tried.or_else(|error| {
            let error = error.to_string(); // a backtrace may follow the first line
            bail!(
                "modifier {} on {variant}: {}",
                self.text,
                error.lines().next().unwrap_or_default()
            )
        })
    }

    fn applied(&self, spec: &RnnConfig) -> Result<RnnConfig> {
        let mut spec = spec.clone();
        match self.switch.clone() {
            Switch::Scheme(scheme) => spec.cell.init_mut().scheme = scheme,
            Switch::Recurrent(block) => spec.cell.init_mut().recurrent = block,
            Switch::GateScheme(gate, scheme) => {
                put(&mut spec.cell.init_mut().scheme_by_gate, gate, scheme)
            }
            Switch::GateBlock(gate, block) => {
                put(&mut spec.cell.init_mut().recurrent_by_gate, gate, block)
            }
            Switch::Memory(bias) => spec.cell.init_mut().forget_bias = bias,
            Switch::GateBias(gate, bias) => put(&mut spec.cell.init_mut().bias_by_gate, gate, bias),
            Switch::Norm(how) => spec.cell = normed(&spec.cell, how)?,
            Switch::Gain(gain) => *self::gain(&mut spec.cell)? = gain,
            Switch::Layers(layers) => spec.layers = layers,
            Switch::Connection(connection) if spec.connection == Connection::None => {
                spec.connection = connection;
            }
            Switch::Connection(_) => bail!("its layers have a connection over depth already"),
            Switch::TemporalResidual(alpha) => {
                spec.cell = CellKind::TemporalResidual { cell: Box::new(spec.cell), alpha };
            }
            Switch::Zoneout(rates) => {
                let (h, c) =
                    rates.unwrap_or(if has_memory(&spec.cell) { (0.05, 0.5) } else { (0.1, 0.0) });
                spec.recurrent_dropout =
                    RecurrentDropout { zoneout_h: h, zoneout_c: c, ..spec.recurrent_dropout };
            }
            Switch::Variational(input, recurrent) => {
                spec.recurrent_dropout =
                    RecurrentDropout { input, recurrent, ..spec.recurrent_dropout };
            }
            Switch::WeightDrop(weights) => spec.recurrent_dropout.weights = weights,
            Switch::Dropout(_) if spec.layers < 2 => {
                bail!("it has one layer, and nothing between layers")
            }
            Switch::Dropout(rate) => spec.dropout = rate,
            Switch::LearnedStart => spec.learned_start = true,
            Switch::Relu => *nonlinearity(&mut spec.cell)? = Nonlinearity::Relu,
        }
        Ok(spec)
    }
}

/// Sets the value of a gate in place of an earlier one.
fn put<T>(by_gate: &mut Vec<(String, T)>, gate: String, value: T) {
    by_gate.retain(|(other, _)| *other != gate);
    by_gate.push((gate, value));
}

/// The same cell with normalised pre-activations; the initialisation does not change.
fn normed(cell: &CellKind, how: Normalisation) -> Result<CellKind> {
    let Normalisation { gain, norm, scope, placement, parts } = how;
    let (lstm, vanilla) = (placement.is_some(), parts.is_some());
    Ok(match cell {
        CellKind::Lstm(LstmConfig {
            bias: true,
            proj: None,
            peepholes: false,
            coupled: false,
            init,
        }) if !vanilla => {
            let (placement, init) = (placement.unwrap_or_default(), init.clone());
            CellKind::LayerNormLstm(LayerNormLstmConfig { gain, placement, norm, scope, init })
        }
        CellKind::Gru(GruConfig { reset: Reset::After, bias: true, init }) if !lstm && !vanilla => {
            CellKind::LayerNormGru(LayerNormGruConfig { gain, norm, scope, init: init.clone() })
        }
        CellKind::Vanilla(VanillaConfig { nonlinearity, bias: true, init })
            if !lstm && scope == Scope::Whole =>
        {
            let (nonlinearity, parts, init) =
                (*nonlinearity, parts.unwrap_or_default(), init.clone());
            CellKind::LayerNormVanilla(LayerNormVanillaConfig {
                gain,
                nonlinearity,
                norm_input: parts,
                norm,
                init,
            })
        }
        CellKind::TemporalResidual { cell, alpha } => {
            CellKind::TemporalResidual { cell: Box::new(normed(cell, how)?), alpha: *alpha }
        }
        CellKind::LayerNormLstm(_) | CellKind::LayerNormGru(_) | CellKind::LayerNormVanilla(_) => {
            bail!("its cell is normed already")
        }
        _ => bail!("its cell does not have this normalisation"),
    })
}

/// The initial gain of a normalised cell.
fn gain(cell: &mut CellKind) -> Result<&mut f64> {
    match cell {
        CellKind::LayerNormLstm(config) => Ok(&mut config.gain),
        CellKind::LayerNormGru(config) => Ok(&mut config.gain),
        CellKind::LayerNormVanilla(config) => Ok(&mut config.gain),
        CellKind::TemporalResidual { cell, .. } => gain(cell),
        _ => bail!("its cell is not normed, and has no gain"),
    }
}

fn nonlinearity(cell: &mut CellKind) -> Result<&mut Nonlinearity> {
    match cell {
        CellKind::Vanilla(config) => Ok(&mut config.nonlinearity),
        CellKind::LayerNormVanilla(config) => Ok(&mut config.nonlinearity),
        CellKind::TemporalResidual { cell, .. } => nonlinearity(cell),
        _ => bail!("its cell is not a vanilla network"),
    }
}

/// Whether the state has a field c.
fn has_memory(cell: &CellKind) -> bool {
    match cell {
        CellKind::Lstm(_)
        | CellKind::LstmHalved(_)
        | CellKind::LayerNormLstm(_)
        | CellKind::ResidualLstm(_) => true,
        CellKind::Vanilla(_)
        | CellKind::Gru(_)
        | CellKind::LayerNormGru(_)
        | CellKind::LayerNormVanilla(_) => false,
        CellKind::TemporalResidual { cell, .. } => has_memory(cell),
    }
}

#[cfg(test)]
mod tests;
