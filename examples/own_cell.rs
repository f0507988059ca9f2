//! How does a cell of my own become a layer?
//!
//! Write its equations. The library draws the weights, derives the step, a CPU kernel forward and
//! backward, the gates and the vector-Jacobian product, and adds stacking, lengths, truncated
//! backpropagation and the gradient recorder.
//!
//! ```text
//! cargo run --release --example own_cell
//! cargo run --release --example own_cell -- compare --variants mgu,mgu+clip=0.5,gru   # beside the zoo
//! ```
//!
//! The first prints, within some seconds:
//!
//! ```text
//! 12 of 12 parameters have a gradient
//! layer 0: |dL/dh| at lag 0, 10, 100: 1.3e0 2.1e-1 2.0e-14
//! layer 1: |dL/dh| at lag 0, 10, 100: 4.3e0 2.0e-1 1.5e-17
//! layer 2: |dL/dh| at lag 0, 10, 100: 1.6e1 8.0e-2 4.6e-20
//! ```

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use recurrent::core::description::{Builder, Value};
use recurrent::core::init::Gates;
use recurrent::core::HiddenState;
use recurrent::{
    Direction, ForwardContext, GatedCell, GatedConfig, GradientRecorder, Layer, Record, Rnn,
    Sequence, Stack,
};
use recurrent_cli::{main_with, Variants};
use std::process::ExitCode;

/// The minimal gated unit (Zhou et al. 2016, arXiv:1603.09420v1), with the forget gate after the
/// matrix product:
/// f = σ(a_f + b_f), n = tanh(a_n + f ∘ b_n), h' = (1 − f) ∘ h + f ∘ n.
#[derive(Clone)]
pub(crate) struct MinimalGatedUnit;

impl GatedCell for MinimalGatedUnit {
    type State = HiddenState;

    const GATES: Gates = Gates::new(&["f", "n"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (h, seen) = (cell.state(0), cell.recurrent());
        let ([a_f, a_n], [b_f, b_n]) = (cell.input_gates(), cell.recurrent_gates(&seen));
        let f = (a_f + b_f).sigmoid().gate("f");
        let n = (a_n + f * b_n).tanh();
        vec![h + f * (n - h)]
    }
}

/// Stacks a cell that this program defines, and prints its gradients; or takes the cell to
/// `compare`, `ablate` or `sweep`.
#[derive(Parser)]
struct Options {}

fn main() -> ExitCode {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    if std::env::args().nth(1).is_some_and(|word| !word.starts_with('-')) {
        let summary = "minimal gated unit (Zhou 2016)";
        return main_with(Variants::registry().and("mgu", summary, |size, vb| {
            let config = GatedConfig::new(MinimalGatedUnit);
            Ok(Box::new(Rnn::new(size.input, size.hidden, &config, vb)?))
        }));
    }
    Options::parse();
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let config = GatedConfig::new(MinimalGatedUnit);
    let stack = Stack::new(2, 16, 3, Direction::Forward, &config, vb)?;

    let xs = Sequence::new(Tensor::ones((4, 2000, 2), DType::F32, &Device::Cpu)?)?;
    let recorder = GradientRecorder::new(Record::Norms);
    let (last, _) = stack.last(&xs, None, &ForwardContext::default().record(&recorder))?;
    let grads = last.sum_all()?.backward()?; // 2,000 steps, three layers deep, in constant stack
    let reached = stack.params().iter().filter(|(_, param)| grads.get(param).is_some()).count();
    println!("{reached} of {} parameters have a gradient", stack.params().len());
    for trace in recorder.take() {
        println!(
            "layer {}: |dL/dh| at lag 0, 10, 100: {:.1e} {:.1e} {:.1e}",
            trace.layer_id.layer,
            trace.batch_norms[0],
            trace.batch_norms[10],
            trace.batch_norms[100]
        );
    }
    Ok(())
}
