//! The weights of one cell: looked up, or drawn.

use super::seed;
use super::{normal, orthogonal, tensor, Block, ForgetBias, Init, Scheme};
use crate::{named_rng, LayerId};
use candle_core::{bail, Result, Tensor, Var};
use candle_nn::{Init as Fill, VarBuilder};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The gates of a cell, in the order of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Gates {
    /// Their names, as in the paper.
    pub names: &'static [&'static str],
    /// The index of the gate that keeps the previous state.
    pub forget: Option<usize>,
    /// The index of the gate that lets the new value in, if it is another.
    pub input: Option<usize>,
}

impl Gates {
    /// Gates of these names, of which none keeps the state alone.
    pub const fn new(names: &'static [&'static str]) -> Self {
        Self { names, forget: None, input: None }
    }
}

/// Looks up the weights of a cell in a [`VarBuilder`], or draws them by an [`Init`] if they do not
/// exist yet.
pub struct Weights<'a> {
    vb: VarBuilder<'a>,
    suffix: String,
    init: &'a Init,
    gates: Gates,
    hidden: usize,
    output: usize,
}

impl<'a> Weights<'a> {
    /// The weights of a cell with these gates of `hidden` units each. In `vb` their names end with
    /// the suffix of `layer_id`: `weight_ih_l0`; without one they have no suffix: `weight_ih`.
    ///
    /// # Errors
    /// If `hidden` is 0; if `init` names a gate that the cell does not have, or sets a forget bias
    /// and no gate keeps the previous state; if a chrono lag is 2 or less.
    pub fn new(
        vb: VarBuilder<'a>,
        layer_id: Option<LayerId>,
        init: &'a Init,
        gates: Gates,
        hidden: usize,
    ) -> Result<Self> {
        let named = init.recurrent_by_gate.iter().map(|(name, _)| ("recurrent_by_gate", name));
        let named =
            named.chain(init.scheme_by_gate.iter().map(|(name, _)| ("scheme_by_gate", name)));
        let mut named =
            named.chain(init.bias_by_gate.iter().map(|(name, _)| ("bias_by_gate", name)));
        if let Some((field, name)) = named.find(|(_, name)| !gates.names.contains(&name.as_str())) {
            bail!("init {field}: expected one of {:?}, got {name:?}", gates.names)
        }
        match init.forget_bias {
            ForgetBias::Scheme => {}
            _ if gates.forget.is_none() => {
                bail!("init forget_bias: this cell has no gate that keeps the old state")
            }
            ForgetBias::Chrono { longest } if longest <= 2 => {
                bail!("init forget_bias: expected a longest lag above 2 for chrono, got {longest}")
            }
            ForgetBias::Chrono { .. } | ForgetBias::Constant(_) => {}
        }
        require_size("hidden", hidden, "unit")?;
        let suffix = layer_id.map_or_else(String::new, |layer_id| layer_id.suffix());
        Ok(Self { vb, suffix, init, gates, hidden, output: hidden })
    }

    /// The same for a cell that projects its units to an output of `output` values, which the
    /// recurrent matrix multiplies.
    ///
    /// # Errors
    /// If `output` is 0, or `init` sets a recurrent block to the identity, which then is not
    /// square.
    pub fn projected(self, output: usize) -> Result<Self> {
        require_size("projection", output, "value")?;
        let identity = |gate: &&str| matches!(self.block(gate), Block::Identity { .. });
        match self.gates.names.iter().find(|gate| identity(gate)) {
            Some(gate) if output != self.hidden => {
                let hidden = self.hidden;
                bail!(
                    "init: expected a square block of gate {gate:?} for the identity, got \
                     ({hidden}, {output})"
                )
            }
            _ => Ok(Self { output, ..self }),
        }
    }

    /// The name of a weight here: `weight_ih` to `weight_ih_l0`.
    pub fn name(&self, base: &str) -> String {
        format!("{base}{}", self.suffix)
    }

    /// The names of the gates.
    pub fn gates(&self) -> &'static [&'static str] {
        self.gates.names
    }

    /// Checks that the initialisation sets no bias, for a cell without biases.
    ///
    /// # Errors
    /// If the initialisation sets one.
    pub fn no_bias(&self) -> Result<()> {
        match (self.init.forget_bias, self.init.bias_by_gate.is_empty()) {
            (ForgetBias::Scheme, true) => Ok(()),
            (ForgetBias::Scheme, false) => bail!("init bias_by_gate: this cell has no bias to set"),
            _ => bail!("init forget_bias: this cell has no bias to set"),
        }
    }

    /// `weight_ih`, `(gates * hidden, input)`.
    ///
    /// # Errors
    /// If it exists with another shape, or `input` is 0.
    pub fn weight_ih(&self, input: usize) -> Result<Tensor> {
        require_size("input", input, "feature")?;
        let (rows, hidden) = (self.rows(), self.hidden as f64);
        self.get("weight_ih", &[rows, input], |name| {
            self.gate_by_gate(name, input, |rng, scheme| match scheme {
                Scheme::PyTorch => uniform(rng, rows * input, 1.0 / hidden.sqrt()),
                Scheme::Keras => uniform(rng, rows * input, (6.0 / (input + rows) as f64).sqrt()),
                Scheme::Candle => uniform(rng, rows * input, (6.0 / input as f64).sqrt()),
                Scheme::Normal { input: deviation, .. } => normals(rng, rows * input, deviation),
            })
        })
    }

    /// `weight_hh`, `(gates * hidden, output)`; the output is as large as `hidden` unless
    /// [`Weights::projected`].
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn weight_hh(&self) -> Result<Tensor> {
        let (rows, hidden, output) = (self.rows(), self.hidden, self.output);
        self.get("weight_hh", &[rows, output], |name| {
            let mut values = self.gate_by_gate(name, output, |rng, scheme| match scheme {
                Scheme::PyTorch => uniform(rng, rows * output, 1.0 / (hidden as f64).sqrt()),
                Scheme::Keras => orthogonal(rng, rows, output),
                Scheme::Candle => uniform(rng, rows * output, (6.0 / output as f64).sqrt()),
                Scheme::Normal { recurrent, .. } => {
                    normals(rng, rows * output, recurrent / (output as f64).sqrt())
                }
            });
            for (gate, block) in self.gates.names.iter().zip(values.chunks_mut(hidden * output)) {
                match self.block(gate) {
                    Block::Scheme => {}
                    Block::Orthogonal { gain } => {
                        let mut rng = self.rng(&format!("{name} {gate}"));
                        let drawn = orthogonal(&mut rng, hidden, output);
                        block
                            .iter_mut()
                            .zip(drawn)
                            .for_each(|(value, drawn)| *value = gain * drawn);
                    }
                    Block::Identity { scale } => {
                        let diagonal =
                            |at: usize| if at.is_multiple_of(hidden + 1) { scale } else { 0.0 };
                        block.iter_mut().enumerate().for_each(|(at, value)| *value = diagonal(at));
                    }
                }
            }
            values
        })
    }

    /// `weight_hr`, `(output, hidden)`: the projection of [`Weights::projected`]. Its distribution
    /// by scheme, in the order of [`Scheme`]: U(±1/√H), Glorot's U(±√(6 / (H + output))),
    /// U(±√(6/H)), N(0, 1/H).
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn weight_hr(&self) -> Result<Tensor> {
        let (hidden, output) = (self.hidden, self.output);
        self.get("weight_hr", &[output, hidden], |name| {
            let (mut rng, count, wide) = (self.rng(name), output * hidden, hidden as f64);
            match self.init.scheme {
                Scheme::PyTorch => uniform(&mut rng, count, 1.0 / wide.sqrt()),
                Scheme::Keras => uniform(&mut rng, count, (6.0 / (hidden + output) as f64).sqrt()),
                Scheme::Candle => uniform(&mut rng, count, (6.0 / wide).sqrt()),
                Scheme::Normal { .. } => normals(&mut rng, count, 1.0 / wide.sqrt()),
            }
        })
    }

    /// A weight with one number for each unit, `(hidden)`, such as a peephole. It is drawn from
    /// U(±1/√H) in PyTorch's scheme, and zero in the others.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn by_unit(&self, base: &str) -> Result<Tensor> {
        self.get(base, &[self.hidden], |name| match self.init.scheme {
            Scheme::PyTorch => {
                uniform(&mut self.rng(name), self.hidden, 1.0 / (self.hidden as f64).sqrt())
            }
            Scheme::Keras | Scheme::Candle | Scheme::Normal { .. } => vec![0.0; self.hidden],
        })
    }

    /// `bias_ih`, `(gates * hidden)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn bias_ih(&self) -> Result<Tensor> {
        self.drawn_bias("bias_ih", true)
    }

    /// `bias_hh`, `(gates * hidden)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn bias_hh(&self) -> Result<Tensor> {
        self.drawn_bias("bias_hh", false)
    }

    /// A single bias under another name, `(gates * hidden)`, for a cell that has one bias where
    /// PyTorch has two. It holds everything that [`Init`] sets: the forget bias, and the biases of
    /// single gates.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn bias(&self, base: &str) -> Result<Tensor> {
        self.drawn_bias(base, true)
    }

    /// A weight whose elements are all `value`, such as a gain.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn constant(&self, base: &str, size: usize, value: f64) -> Result<Tensor> {
        self.get(base, &[size], |_| vec![value; size])
    }

    /// The generator of the weight `name`.
    fn rng(&self, name: &str) -> ChaCha8Rng {
        named_rng(seed(&self.vb), name)
    }

    fn rows(&self) -> usize {
        self.gates.names.len() * self.hidden
    }

    /// The index of a gate that the cell has.
    fn gate(&self, name: &str) -> usize {
        self.gates.names.iter().position(|gate| *gate == name).expect("gates are checked in `new`")
    }

    /// The initialisation of a gate's recurrent block.
    fn block(&self, gate: &str) -> Block {
        let own = self.init.recurrent_by_gate.iter().find(|(own, _)| own == gate);
        own.map_or(self.init.recurrent, |(_, block)| *block)
    }

    /// The rows of all gates, `columns` numbers each, by the scheme of each gate.
    fn gate_by_gate(
        &self,
        name: &str,
        columns: usize,
        draw: impl Fn(&mut ChaCha8Rng, Scheme) -> Vec<f64>,
    ) -> Vec<f64> {
        let all = |scheme| draw(&mut self.rng(name), scheme);
        let mut values = all(self.init.scheme);
        for (gate, scheme) in &self.init.scheme_by_gate {
            let start = self.gate(gate) * self.hidden * columns;
            let rows = start..start + self.hidden * columns;
            values[rows.clone()].copy_from_slice(&all(*scheme)[rows]);
        }
        values
    }

    /// A bias. If [`Init`] sets its value, it has that value if `holds`, and is zero otherwise.
    fn drawn_bias(&self, base: &str, holds: bool) -> Result<Tensor> {
        let (rows, hidden) = (self.rows(), self.hidden);
        self.get(base, &[rows], |name| {
            let mut values = self.gate_by_gate(name, 1, |rng, scheme| match scheme {
                Scheme::PyTorch => uniform(rng, rows, 1.0 / (hidden as f64).sqrt()),
                Scheme::Keras => (0..rows)
                    .map(|row| if holds && self.forgets(row / hidden) { 1.0 } else { 0.0 })
                    .collect(),
                Scheme::Candle | Scheme::Normal { .. } => vec![0.0; rows],
            });
            let mut put = |gate: usize, sums: &[f64]| {
                let rows = values[gate * hidden..].iter_mut().zip(sums);
                rows.for_each(|(value, sum)| *value = if holds { *sum } else { 0.0 });
            };
            match (self.gates.forget, self.init.forget_bias) {
                (None, _) | (_, ForgetBias::Scheme) => {}
                (Some(gate), ForgetBias::Constant(sum)) => put(gate, &vec![sum; hidden]),
                (Some(gate), ForgetBias::Chrono { longest }) => {
                    let mut rng = self.rng(&format!("{name} chrono"));
                    let mut draw = |_| rng.random_range(1.0..(longest - 1) as f64).ln();
                    let drawn: Vec<f64> = (0..hidden).map(&mut draw).collect();
                    put(gate, &drawn);
                    if let Some(input) = self.gates.input {
                        put(input, &drawn.iter().map(|bias| -bias).collect::<Vec<_>>());
                    }
                }
            }
            self.init
                .bias_by_gate
                .iter()
                .for_each(|(gate, sum)| put(self.gate(gate), &vec![*sum; hidden]));
            values
        })
    }

    /// Whether this is the forget gate of an LSTM.
    fn forgets(&self, gate: usize) -> bool {
        self.gates.forget == Some(gate) && self.gates.names[gate] == "f"
    }

    fn get(
        &self,
        base: &str,
        shape: &[usize],
        draw: impl FnOnce(&str) -> Vec<f64>,
    ) -> Result<Tensor> {
        get_or(&self.vb, &self.name(base), shape, draw)
    }
}

fn uniform(rng: &mut impl Rng, count: usize, bound: f64) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-bound..bound)).collect()
}

fn normals(rng: &mut impl Rng, count: usize, deviation: f64) -> Vec<f64> {
    (0..count).map(|_| deviation * normal(rng)).collect()
}

/// Refuses a size of 0.
pub(crate) fn require_size(name: &str, size: usize, what: &str) -> Result<()> {
    match size {
        0 => bail!("{name}: expected at least 1 {what}, got 0"),
        _ => Ok(()),
    }
}

/// The tensor `name` of `vb`. If a variable map makes it only now, its values are those of `draw`
/// for its full name.
///
/// Candle's initialisers are a closed list without a seed on the CPU. So candle makes zeros, and
/// this function sets the variable.
pub(super) fn get_or(
    vb: &VarBuilder,
    name: &str,
    shape: &[usize],
    draw: impl FnOnce(&str) -> Vec<f64>,
) -> Result<Tensor> {
    let exists = vb.contains_tensor(name);
    let found = vb.get_with_hints(shape, name, Fill::Const(0.0))?;
    if !exists && found.is_variable() {
        let prefix = vb.prefix();
        let full = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        Var::from_tensor(&found)?.set(&tensor(
            draw(&full),
            shape,
            found.dtype(),
            found.device(),
        )?)?;
    }
    Ok(found)
}
