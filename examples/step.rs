//! What does one step of a cell compute?
//!
//! ```text
//! cargo run --release --example step
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! weight_ih  [8, 3]
//! weight_hh  [8, 2]
//! bias_ih    [8]
//! bias_hh    [8]
//! t = 0: h = [-0.1326, 0.2041], c = [-0.2551, 0.6015]
//! t = 1: h = [0.0655, 0.4544], c = [0.2711, 1.1504]
//! t = 2: h = [0.0634, 0.6505], c = [1.0749, 1.5572]
//! ```

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use recurrent::{Cell, CellConfig, LstmConfig};

/// Prints the weights of an LSTM cell and its state after each of three steps.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &device);

    // A cell has no loop: (x_t, state) -> state. Its weights have the names of torch.nn.LSTMCell.
    let cell = LstmConfig::forget_bias(1.0).cell(3, 2, None, vb)?;
    for (name, weight) in cell.params() {
        println!("{name:10} {:?}", weight.dims());
    }

    let mut state = cell.zero_state(1, DType::F32, &device)?;
    for t in 0..3 {
        let x = Tensor::full(t as f32, (1, 3), &device)?; // (batch, input)
        state = cell.step(&x, &state)?;
        println!(
            "t = {t}: h = {:.4?}, c = {:.4?}",
            state.h.to_vec2::<f32>()?[0],
            state.c.to_vec2::<f32>()?[0]
        );
    }
    Ok(())
}
