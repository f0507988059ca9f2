//! What does one step of a cell compute?
//!
//! ```text
//! cargo run --release --example step
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! OUTPUT
//! ```

use candle::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{Cell, CellConfig, LstmConfig};

fn main() -> Result<()> {
    let device = Device::Cpu;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &device);

    // A cell knows no loop: (x_t, state) -> state. Its weights are named as those of torch.nn.LSTMCell.
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
