//! One step of an LSTM.

use candle_core::{Result, Tensor};
use recurrent_core::description::{Builder, Value};
use recurrent_core::{GateWeights, LstmState, Params};
use recurrent_kernels::Describe;

/// One step of an LSTM; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct LstmCell {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) coupled: bool,
    pub(crate) weight_hr: Option<Tensor>, // (proj, hidden)
    pub(crate) weight_ci: Option<Tensor>, // (hidden)
    pub(crate) weight_cf: Option<Tensor>, // (hidden)
    pub(crate) weight_co: Option<Tensor>, // (hidden)
}

/// σ(z + w ∘ c): a gate with its peephole on the cell state, if it has one.
fn gate<'a>(cell: &'a Builder, z: Value<'a>, peephole: &str, c: Value<'a>) -> Value<'a> {
    match cell.has(peephole) {
        true => (z + cell.weight(peephole) * c).sigmoid(),
        false => z.sigmoid(),
    }
}

impl Describe for LstmCell {
    type State = LstmState;

    const KERNEL: &'static str = "lstm kernel";

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, c) = (cell.recurrent(), cell.state(1));
        let (i, f, g, o) = if self.coupled {
            let [f, g, o] = cell.gates(&h);
            let f = gate(cell, f, "weight_cf", c);
            (1.0 - f, f, g, o)
        } else {
            let [i, f, g, o] = cell.gates(&h);
            (gate(cell, i, "weight_ci", c), gate(cell, f, "weight_cf", c), g, o)
        };
        let (i, f) = (i.gate("i"), f.keep("f"));
        let c = f * c + i * g.tanh().named("g");
        let h = gate(cell, o, "weight_co", c).gate("o") * c.tanh();
        match &self.weight_hr {
            Some(_) => vec![cell.product("weight_hr", h), c],
            None => vec![h, c],
        }
    }

    /// With a projection, W_hh W_hr gate by gate: the matrix from o ∘ tanh(c) to the next step. Its
    /// eigenvalues are those of W_hr W_hh, and zeros.
    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let blocks = self.weights.recurrent_blocks()?;
        let Some(weight_hr) = &self.weight_hr else { return Ok(blocks) };
        blocks.into_iter().map(|(name, block)| Ok((name, block.matmul(weight_hr)?))).collect()
    }
}
