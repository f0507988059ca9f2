//! One step of a GRU.

use crate::Reset;
use recurrent_core::description::{Builder, Value};
use recurrent_core::init::Gates;
use recurrent_core::HiddenState;
use recurrent_kernels::GatedCell;

/// One step of a GRU; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct GruCell {
    pub(crate) reset: Reset,
}

impl GatedCell for GruCell {
    type State = HiddenState;

    const KERNEL: &'static str = "gru kernel";
    const GATES: Gates = Gates { names: &["r", "z", "n"], forget: Some(1), input: None };

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
}
