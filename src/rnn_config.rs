//! Recurrent layers as data.

use candle_core::{bail, DType, Device, Result};
use candle_nn::VarBuilder;
use recurrent_core::init::{Block, ForgetBias, Init, Scheme};
use recurrent_core::{
    Bidirectional, Cell, CellConfig, Direction, Layer, LayerId, Recompute, RecurrentDropout, Rnn,
    Stack,
};
use recurrent_gru::GruConfig;
use recurrent_kernels::Described;
use recurrent_layernorm::{LayerNormGruConfig, LayerNormLstmConfig, LayerNormVanillaConfig};
use recurrent_lstm::{LstmCell, LstmConfig};
use recurrent_residual::{Residual, ResidualLstmConfig, Shortcut, TemporalResidual};
use recurrent_vanilla::VanillaConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Recurrent layers as data that serde reads and writes: a cell with its options, the number of
/// layers, and the connections.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent::{CellKind, Layer, LstmConfig, RnnConfig};
///
/// # fn main() -> candle_core::Result<()> {
/// let lstm = CellKind::Lstm(LstmConfig::forget_bias(1.0));
/// let config = RnnConfig { layers: 2, ..RnnConfig::new(lstm) };
/// let vars = VarMap::new();
/// let layer = config.build(3, 8, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
/// assert_eq!((layer.output_size(), layer.depth()), (8, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RnnConfig {
    /// The cell of every layer.
    pub cell: CellKind,
    /// The number of layers.
    pub layers: usize,
    /// The directions of every layer.
    #[serde(default)]
    pub direction: Direction,
    /// The connection around every layer.
    #[serde(default)]
    pub connection: Connection,
    /// The rate of dropout between layers.
    #[serde(default)]
    pub dropout: f64,
    /// Dropout over time in every layer, while training.
    #[serde(default)]
    pub recurrent_dropout: RecurrentDropout,
    /// Whether every layer learns its initial state.
    #[serde(default)]
    pub learned_start: bool,
    /// The activation checkpointing of every layer.
    #[serde(default)]
    pub recompute: Recompute,
}

/// The kinds of cell, with their options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum CellKind {
    /// A vanilla cell.
    Vanilla(VanillaConfig),
    /// An LSTM.
    Lstm(LstmConfig),
    /// An LSTM that projects its output to half as many values as it has units, at any size; a
    /// single unit is not projected.
    LstmHalved(LstmConfig),
    /// A GRU.
    Gru(GruConfig),
    /// A layer-normed LSTM.
    #[serde(rename = "layernorm-lstm")]
    LayerNormLstm(LayerNormLstmConfig),
    /// A layer-normed GRU.
    #[serde(rename = "layernorm-gru")]
    LayerNormGru(LayerNormGruConfig),
    /// A layer-normed vanilla cell.
    #[serde(rename = "layernorm-vanilla")]
    LayerNormVanilla(LayerNormVanillaConfig),
    /// The residual LSTM of Kim et al. (2017).
    #[serde(rename = "kim-residual-lstm")]
    ResidualLstm(ResidualLstmConfig),
    /// Any other cell with a residual connection over time.
    TemporalResidual {
        /// The inner cell.
        cell: Box<CellKind>,
        /// The factor on its output.
        alpha: f64,
    },
}

/// The connection from a layer's input to its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// No connection.
    #[default]
    None,
    /// A residual connection around every layer, with a projection if sizes differ:
    /// [`Shortcut::Additive`].
    Residual,
    /// The same with a gate: [`Shortcut::Highway`].
    Highway {
        /// The initial bias of the gate, usually −1.
        bias: f64,
    },
    /// The same with a learned scale, 0 at first: [`Shortcut::ReZero`].
    #[serde(rename = "rezero")]
    ReZero,
}

impl Connection {
    fn shortcut(self) -> Option<Shortcut> {
        match self {
            Self::None => None,
            Self::Residual => Some(Shortcut::Additive),
            Self::Highway { bias } => Some(Shortcut::Highway { bias }),
            Self::ReZero => Some(Shortcut::ReZero),
        }
    }
}

/// A function of a cell's options that is generic over their type.
trait Visit {
    type Out;
    fn visit<K: CellConfig>(&self, config: &K) -> Result<Self::Out>;
}

impl RnnConfig {
    /// One forward layer of this cell, without dropout.
    pub fn new(cell: CellKind) -> Self {
        Self {
            cell,
            layers: 1,
            direction: Direction::Forward,
            connection: Connection::None,
            dropout: 0.0,
            recurrent_dropout: RecurrentDropout::default(),
            learned_start: false,
            recompute: Recompute::Auto,
        }
    }

    /// The same configuration, with chrono biases for lags up to `longest_lag`.
    #[must_use]
    pub fn with_longest_lag(&self, longest_lag: usize) -> Self {
        let mut spec = self.clone();
        let init = spec.cell.init_mut();
        if let ForgetBias::Chrono { longest } = &mut init.forget_bias {
            *longest = longest_lag;
        }
        spec
    }

    /// Builds the layers, with `hidden` units in each direction, on `input` features.
    ///
    /// # Errors
    /// If options contradict each other, or a weight exists with another shape.
    pub fn build(&self, input: usize, hidden: usize, vb: VarBuilder) -> Result<Box<dyn Layer>> {
        self.cell.accept(&Build { spec: self, input, hidden, vb })
    }

    /// The number of weights of these layers.
    ///
    /// # Errors
    /// If options contradict each other.
    pub fn param_count(&self, input: usize, hidden: usize) -> Result<usize> {
        self.cell.accept(&Count { spec: self, input, hidden })
    }

    /// A summary of the initialisation.
    pub fn init_summary(&self) -> String {
        let init = self.cell.init();
        let scheme = |scheme| match scheme {
            Scheme::PyTorch => "PyTorch".to_string(),
            Scheme::Keras => "Keras".to_string(),
            Scheme::Candle => "candle".to_string(),
            Scheme::Normal { input, recurrent } => format!("normal({input}, {recurrent})"),
        };
        let block = |block| match block {
            Block::Scheme => "as the scheme".to_string(),
            Block::Orthogonal { gain } => format!("orthogonal({gain})"),
            Block::Identity { scale } => format!("identity({scale})"),
        };
        let mut words = vec![scheme(init.scheme)];
        words.extend(
            init.scheme_by_gate.iter().map(|(gate, own)| format!("{gate} {}", scheme(*own))),
        );
        if init.recurrent != Block::Scheme {
            words.push(format!("{} recurrent", block(init.recurrent)));
        }
        words.extend(
            init.recurrent_by_gate.iter().map(|(gate, own)| format!("{gate} {}", block(*own))),
        );
        match init.forget_bias {
            ForgetBias::Scheme => {}
            ForgetBias::Constant(sum) => words.push(format!("forget bias {sum}")),
            ForgetBias::Chrono { longest } => words.push(format!("chrono({longest})")),
        }
        words.extend(init.bias_by_gate.iter().map(|(gate, sum)| format!("{gate} bias {sum}")));
        if self.learned_start {
            words.push("learned start from zero".to_string());
        }
        words.join(", ")
    }

    /// The options by name, for a table; rates of dropout over time that are 0 are left out.
    pub fn options(&self) -> BTreeMap<String, String> {
        let value = serde_json::to_value(self).expect("a spec is plain data");
        let mut options = BTreeMap::new();
        flatten("", &value, &mut options);
        options.retain(|name, rate| !(name.starts_with("recurrent_dropout.") && rate == "0.0"));
        options
    }
}

fn flatten(name: &str, value: &serde_json::Value, options: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(field, value)| {
            let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
            flatten(&name, value, options);
        }),
        serde_json::Value::String(text) => drop(options.insert(name.to_string(), text.clone())),
        serde_json::Value::Array(items) if items.is_empty() => {}
        serde_json::Value::Null => {}
        other => drop(options.insert(name.to_string(), other.to_string())),
    }
}

impl CellKind {
    /// The initialisation of the cell's weights.
    pub fn init(&self) -> &Init {
        match self {
            Self::Vanilla(config) => &config.init,
            Self::Lstm(config) | Self::LstmHalved(config) => &config.init,
            Self::Gru(config) => &config.init,
            Self::LayerNormLstm(config) => &config.init,
            Self::LayerNormGru(config) => &config.init,
            Self::LayerNormVanilla(config) => &config.init,
            Self::ResidualLstm(config) => &config.init,
            Self::TemporalResidual { cell, .. } => cell.init(),
        }
    }

    /// The initialisation of the cell's weights, for changes.
    pub fn init_mut(&mut self) -> &mut Init {
        match self {
            Self::Vanilla(config) => &mut config.init,
            Self::Lstm(config) | Self::LstmHalved(config) => &mut config.init,
            Self::Gru(config) => &mut config.init,
            Self::LayerNormLstm(config) => &mut config.init,
            Self::LayerNormGru(config) => &mut config.init,
            Self::LayerNormVanilla(config) => &mut config.init,
            Self::ResidualLstm(config) => &mut config.init,
            Self::TemporalResidual { cell, .. } => cell.init_mut(),
        }
    }

    fn accept<V: Visit>(&self, visitor: &V) -> Result<V::Out> {
        match self {
            Self::Vanilla(config) => visitor.visit(config),
            Self::Lstm(config) => visitor.visit(config),
            Self::LstmHalved(config) => visitor.visit(&Halved(config.clone())),
            Self::Gru(config) => visitor.visit(config),
            Self::LayerNormLstm(config) => visitor.visit(config),
            Self::LayerNormGru(config) => visitor.visit(config),
            Self::LayerNormVanilla(config) => visitor.visit(config),
            Self::ResidualLstm(config) => visitor.visit(config),
            Self::TemporalResidual { cell, alpha } => cell.accept_inside(*alpha, visitor),
        }
    }

    fn accept_inside<V: Visit>(&self, alpha: f64, visitor: &V) -> Result<V::Out> {
        match self {
            Self::Vanilla(config) => visitor.visit(&TemporalResidual::new(config.clone(), alpha)),
            Self::Lstm(config) => visitor.visit(&TemporalResidual::new(config.clone(), alpha)),
            Self::LstmHalved(config) => {
                visitor.visit(&TemporalResidual::new(Halved(config.clone()), alpha))
            }
            Self::Gru(config) => visitor.visit(&TemporalResidual::new(config.clone(), alpha)),
            Self::LayerNormLstm(config) => {
                visitor.visit(&TemporalResidual::new(config.clone(), alpha))
            }
            Self::LayerNormGru(config) => {
                visitor.visit(&TemporalResidual::new(config.clone(), alpha))
            }
            Self::LayerNormVanilla(config) => {
                visitor.visit(&TemporalResidual::new(config.clone(), alpha))
            }
            Self::ResidualLstm(config) => {
                visitor.visit(&TemporalResidual::new(config.clone(), alpha))
            }
            Self::TemporalResidual { .. } => {
                bail!("spec: expected one residual connection over time, got one inside another")
            }
        }
    }
}

/// [`CellKind::LstmHalved`].
#[derive(Clone)]
struct Halved(LstmConfig);

impl Halved {
    fn at(&self, hidden: usize) -> LstmConfig {
        LstmConfig { proj: (hidden > 1).then_some(hidden / 2), ..self.0.clone() }
    }
}

impl CellConfig for Halved {
    type Cell = Described<LstmCell>;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        layer_id: Option<LayerId>,
        vb: VarBuilder,
    ) -> Result<Described<LstmCell>> {
        self.at(hidden).cell(input, hidden, layer_id, vb)
    }

    fn output_size(&self, hidden: usize) -> usize {
        self.at(hidden).output_size(hidden)
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        self.at(hidden).param_count(input, hidden)
    }
}

struct Build<'a> {
    spec: &'a RnnConfig,
    input: usize,
    hidden: usize,
    vb: VarBuilder<'a>,
}

impl Build<'_> {
    fn rnn<K: CellConfig>(
        &self,
        config: &K,
        layer_id: LayerId,
        input: usize,
    ) -> Result<Rnn<K::Cell>> {
        let rnn = Rnn::at_layer(layer_id, input, self.hidden, config, self.vb.clone())?
            .with_recurrent_dropout(self.spec.recurrent_dropout)?
            .with_recompute(self.spec.recompute)?;
        if self.spec.learned_start {
            rnn.with_learned_start(layer_id, &self.vb)
        } else {
            Ok(rnn)
        }
    }

    fn layer<K: CellConfig>(
        &self,
        config: &K,
        layer_id: LayerId,
        input: usize,
    ) -> Result<Box<dyn Layer>> {
        let forward = self.rnn(config, layer_id, input)?;
        let layer: Box<dyn Layer> = match self.spec.direction {
            Direction::Forward => Box::new(forward),
            Direction::Bidirectional => {
                let reverse = self.rnn(config, LayerId { reverse: true, ..layer_id }, input)?;
                Box::new(Bidirectional::new(forward, reverse)?)
            }
        };
        let Some(shortcut) = self.spec.connection.shortcut() else { return Ok(layer) };
        Ok(Box::new(Residual::of(shortcut, layer, layer_id, self.vb.clone())?))
    }
}

impl Visit for Build<'_> {
    type Out = Box<dyn Layer>;

    fn visit<K: CellConfig>(&self, config: &K) -> Result<Box<dyn Layer>> {
        let stack = Stack::build(self.input, self.spec.layers, |layer_id, input| {
            self.layer(config, layer_id, input)
        })?;
        Ok(Box::new(stack.with_dropout(self.spec.dropout)?))
    }
}

struct Count<'a> {
    spec: &'a RnnConfig,
    input: usize,
    hidden: usize,
}

impl Visit for Count<'_> {
    type Out = usize;

    fn visit<K: CellConfig>(&self, config: &K) -> Result<usize> {
        let directions = match self.spec.direction {
            Direction::Forward => 1,
            Direction::Bidirectional => 2,
        };
        let output = directions * config.output_size(self.hidden);
        let layer = |input| -> Result<usize> {
            let shortcut = self.spec.connection.shortcut();
            let around = shortcut.map_or(0, |shortcut| shortcut.param_count(input, output));
            let one = config.param_count(input, self.hidden) + self.start(config, input)?;
            Ok(directions * one + around)
        };
        (0..self.spec.layers).map(|index| layer(if index == 0 { self.input } else { output })).sum()
    }
}

impl Count<'_> {
    /// The number of weights of a learned initial state.
    fn start<K: CellConfig>(&self, config: &K, input: usize) -> Result<usize> {
        if !self.spec.learned_start {
            return Ok(0);
        }
        // Only a cell knows the sizes of its state.
        let zeros = VarBuilder::zeros(DType::F32, &Device::Cpu);
        Ok(config.cell(input, self.hidden, None, zeros)?.state_sizes().iter().sum())
    }
}
