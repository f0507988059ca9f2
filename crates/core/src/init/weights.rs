//! The weights of one cell, looked up or drawn.

use super::{normal, orthogonal, tensor, Bias, Block, Init, Scheme};
use crate::{stream, Place};
use candle::{bail, Result, Tensor, Var};
use candle_nn::{Init as Fill, VarBuilder};
use rand::Rng;

/// The gates of a cell, in the order of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Gates {
    /// Their names, as in the paper.
    pub names: &'static [&'static str],
    /// Which of them keeps the old state.
    pub memory: Option<usize>,
    /// Which of them lets the new in, where it is another.
    pub input: Option<usize>,
}

/// Looks a cell's weights up in a [`VarBuilder`], or draws them as an [`Init`] says where they do not exist yet.
pub struct Weights<'a> {
    vb: VarBuilder<'a>,
    suffix: String,
    init: &'a Init,
    gates: Gates,
    hidden: usize,
}

impl<'a> Weights<'a> {
    /// The weights of a cell with these gates, `hidden` units each, whose names end as `place` says: `weight_ih_l0`; a
    /// single cell has no place, and its names end nowhere: `weight_ih`.
    ///
    /// # Errors
    /// If `init` asks for what the cell does not have: a gate of that name, a gate that remembers; or a chrono lag of 2
    /// or less.
    pub fn new(
        vb: VarBuilder<'a>,
        place: Option<Place>,
        init: &'a Init,
        gates: Gates,
        hidden: usize,
    ) -> Result<Self> {
        if let Some((name, _)) = init.gates.iter().find(|(name, _)| !gates.names.contains(&name.as_str())) {
            bail!("init gates: expected one of {:?}, got {name:?}", gates.names)
        }
        match init.memory {
            Bias::Scheme => {}
            _ if gates.memory.is_none() => {
                bail!("init memory: this cell has no gate that keeps the old state")
            }
            Bias::Chrono { longest } if longest <= 2 => {
                bail!("init memory: expected a longest lag above 2 for chrono, got {longest}")
            }
            Bias::Chrono { .. } | Bias::Sum(_) => {}
        }
        let suffix = place.map_or_else(String::new, |place| place.suffix());
        Ok(Self { vb, suffix, init, gates, hidden })
    }

    /// The name of a weight here: `weight_ih` to `weight_ih_l0`.
    pub fn name(&self, base: &str) -> String {
        format!("{base}{}", self.suffix)
    }

    /// The names of the gates.
    pub fn gates(&self) -> &'static [&'static str] {
        self.gates.names
    }

    /// Checks that nothing is asked of the biases, for a cell without them.
    ///
    /// # Errors
    /// If the initialisation sets one.
    pub fn no_bias(&self) -> Result<()> {
        match self.init.memory {
            Bias::Scheme => Ok(()),
            _ => bail!("init memory: this cell has no bias to set"),
        }
    }

    /// `weight_ih`, `(gates * hidden, input)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn weight_ih(&self, input: usize) -> Result<Tensor> {
        let (rows, hidden) = (self.rows(), self.hidden as f64);
        self.get("weight_ih", &[rows, input], |name| {
            let mut rng = stream(self.init.seed, name);
            match self.init.scheme {
                Scheme::PyTorch => uniform(&mut rng, rows * input, 1.0 / hidden.sqrt()),
                Scheme::Keras => uniform(&mut rng, rows * input, (6.0 / (input + rows) as f64).sqrt()),
                Scheme::Candle => uniform(&mut rng, rows * input, (6.0 / input as f64).sqrt()),
                Scheme::Normal { input: deviation, .. } => {
                    (0..rows * input).map(|_| deviation * normal(&mut rng)).collect()
                }
            }
        })
    }

    /// `weight_hh`, `(gates * hidden, hidden)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn weight_hh(&self) -> Result<Tensor> {
        let (rows, hidden) = (self.rows(), self.hidden);
        self.get("weight_hh", &[rows, hidden], |name| {
            let mut rng = stream(self.init.seed, name);
            let mut values = match self.init.scheme {
                Scheme::PyTorch => uniform(&mut rng, rows * hidden, 1.0 / (hidden as f64).sqrt()),
                Scheme::Keras => orthogonal(&mut rng, rows, hidden),
                Scheme::Candle => uniform(&mut rng, rows * hidden, (6.0 / hidden as f64).sqrt()),
                Scheme::Normal { recurrent, .. } => (0..rows * hidden)
                    .map(|_| recurrent / (hidden as f64).sqrt() * normal(&mut rng))
                    .collect(),
            };
            for (gate, block) in self.gates.names.iter().zip(values.chunks_mut(hidden * hidden)) {
                let own = self.init.gates.iter().find(|(own, _)| own == gate).map(|(_, block)| *block);
                match own.unwrap_or(self.init.recurrent) {
                    Block::Scheme => {}
                    Block::Orthogonal { gain } => {
                        let mut rng = stream(self.init.seed, &format!("{name} {gate}"));
                        let drawn = orthogonal(&mut rng, hidden, hidden);
                        block.iter_mut().zip(drawn).for_each(|(value, drawn)| *value = gain * drawn);
                    }
                    Block::Identity { scale } => {
                        let diagonal = |at: usize| if at.is_multiple_of(hidden + 1) { scale } else { 0.0 };
                        block.iter_mut().enumerate().for_each(|(at, value)| *value = diagonal(at));
                    }
                }
            }
            values
        })
    }

    /// `bias_ih`, `(gates * hidden)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn bias_ih(&self) -> Result<Tensor> {
        self.bias("bias_ih", |name| {
            let keras = self.init.scheme == Scheme::Keras && self.gates.input.is_some();
            match self.init.memory {
                Bias::Scheme if keras => vec![1.0; self.hidden],
                Bias::Scheme => Vec::new(),
                Bias::Sum(sum) => vec![sum; self.hidden],
                Bias::Chrono { longest } => {
                    let mut rng = stream(self.init.seed, &format!("{name} chrono"));
                    (0..self.hidden).map(|_| rng.random_range(1.0..(longest - 1) as f64).ln()).collect()
                }
            }
        })
    }

    /// `bias_hh`, `(gates * hidden)`.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn bias_hh(&self) -> Result<Tensor> {
        self.bias("bias_hh", |_| match self.init.memory {
            Bias::Scheme => Vec::new(),
            Bias::Sum(_) | Bias::Chrono { .. } => vec![0.0; self.hidden],
        })
    }

    /// A weight of another kind, with the same value everywhere, such as a gain.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn constant(&self, base: &str, size: usize, value: f64) -> Result<Tensor> {
        self.get(base, &[size], |_| vec![value; size])
    }

    fn rows(&self) -> usize {
        self.gates.names.len() * self.hidden
    }

    /// A bias by the scheme, with `memory` in the place of the memory gate's unless it is empty.
    fn bias(&self, base: &str, memory: impl FnOnce(&str) -> Vec<f64>) -> Result<Tensor> {
        self.get(base, &[self.rows()], |name| {
            let mut values = match self.init.scheme {
                Scheme::PyTorch => {
                    uniform(&mut stream(self.init.seed, name), self.rows(), 1.0 / (self.hidden as f64).sqrt())
                }
                Scheme::Keras | Scheme::Candle | Scheme::Normal { .. } => vec![0.0; self.rows()],
            };
            let memory = memory(name);
            let Some(gate) = self.gates.memory.filter(|_| !memory.is_empty()) else { return values };
            let mut put =
                |gate: usize, new: &[f64]| values[gate * self.hidden..][..self.hidden].copy_from_slice(new);
            put(gate, &memory);
            if let (Some(input), Bias::Chrono { .. }) = (self.gates.input, self.init.memory) {
                put(input, &memory.iter().map(|bias| -bias).collect::<Vec<_>>());
            }
            values
        })
    }

    fn get(&self, base: &str, shape: &[usize], draw: impl FnOnce(&str) -> Vec<f64>) -> Result<Tensor> {
        get_or(&self.vb, &self.name(base), shape, draw)
    }
}

fn uniform(rng: &mut impl Rng, count: usize, bound: f64) -> Vec<f64> {
    (0..count).map(|_| rng.random_range(-bound..bound)).collect()
}

/// The tensor `name` of `vb`; where a variable map makes it only now, it begins as `draw` says for its full name.
///
/// candle's own initialisers are a closed list and cannot be seeded on a CPU. So candle makes zeros, and the variable
/// behind them is set.
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
        Var::from_tensor(&found)?.set(&tensor(draw(&full), shape, found.dtype(), found.device())?)?;
    }
    Ok(found)
}
