//! One step of a GRU.

use crate::Reset;
use candle_core::{Result, Tensor};
use recurrent_core::description::{Builder, Value};
use recurrent_core::{GateWeights, HiddenState, Params};
use recurrent_kernels::Describe;

/// One step of a GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct GruCell {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) reset: Reset,
}

impl Describe for GruCell {
    type State = HiddenState;

    const KERNEL: &'static str = "gru kernel";

    fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.weights.hidden_size()]
    }

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, seen) = (cell.state(0), cell.recurrent());
        let [r, z] = cell.gates(&seen);
        let (r, z) = (r.sigmoid().gate("r"), z.sigmoid().keep("z"));
        let n = match self.reset {
            Reset::After => {
                let ([a], [b]) = (cell.input_gates(), cell.recurrent_gates(&seen));
                (a + r * b).tanh()
            }
            Reset::Before => {
                let [n] = cell.gates(&(r * seen));
                n.tanh()
            }
        };
        let n = n.named("n");
        vec![n + z * (h - n)]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }
}
