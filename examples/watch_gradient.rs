//! Does the gradient of my model reach the first step?
//!
//! The forward call takes a recorder, which the backward pass fills with dL/dh_t and dL/dc_t of
//! every layer.
//!
//! ```text
//! cargo run --release --example watch_gradient
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! LSTM, PyTorch's forget bias: norm of the batch-mean gradient, by lag
//!   layer 0 dL/dh   0: 1.5e-2   1: 8.0e-3   5: 1.1e-3   20: 2.8e-6   50: 1.5e-11   99: 3.9e-20
//!   layer 0 dL/dc   0: 0.0e0   1: 3.7e-3   5: 1.6e-3   20: 4.2e-6   50: 2.7e-11   99: 6.7e-20
//!   layer 1 dL/dh   0: 1.0e-1   1: 1.6e-2   5: 1.3e-3   20: 2.6e-6   50: 9.0e-12   99: 1.9e-20
//!   layer 1 dL/dc   0: 0.0e0   1: 2.5e-2   5: 2.4e-3   20: 4.4e-6   50: 1.7e-11   99: 3.6e-20
//! LSTM, chrono: norm of the batch-mean gradient, by lag
//!   layer 0 dL/dh   0: 3.2e-3   1: 2.0e-3   5: 9.9e-4   20: 4.5e-4   50: 1.5e-4   99: 5.2e-5
//!   layer 0 dL/dc   0: 0.0e0   1: 1.5e-3   5: 3.5e-3   20: 5.9e-3   50: 5.4e-3   99: 3.2e-3
//!   layer 1 dL/dh   0: 1.0e-1   1: 4.3e-3   5: 1.2e-3   20: 4.5e-4   50: 1.4e-4   99: 5.2e-5
//!   layer 1 dL/dc   0: 0.0e0   1: 4.6e-2   5: 4.0e-2   20: 2.4e-2   50: 1.2e-2   99: 5.5e-3
//! ```

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use recurrent::core::init;
use recurrent::{
    Direction, ForwardContext, GradientRecorder, Layer, LstmConfig, Record, Sequence, Stack,
};

/// Prints dL/dh and dL/dc at several lags, for two forget biases.
#[derive(Parser)]
struct Options {}

fn main() -> Result<()> {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    Options::parse();
    let (batch, time) = (16, 100);
    for (name, config) in
        [("PyTorch's forget bias", LstmConfig::default()), ("chrono", LstmConfig::chrono(time))]
    {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let lstm = Stack::new(4, 32, 2, Direction::Forward, &config, vb.pp("lstm"))?;
        let readout = init::linear(32, 1, &vb.pp("readout"))?;

        let waves = (0..batch * time * 4).map(|i| (i as f32 * 0.7).sin());
        let xs = Sequence::new(Tensor::from_iter(waves, &Device::Cpu)?.reshape((batch, time, 4))?)?;
        let recorder = GradientRecorder::new(Record::Norms);
        let (last, _) = lstm.last(&xs, None, &ForwardContext::default().record(&recorder))?;
        readout.forward(&last)?.sqr()?.mean_all()?.backward()?;

        println!("LSTM, {name}: norm of the batch-mean gradient, by lag");
        for trace in recorder.take() {
            let norms =
                [0, 1, 5, 20, 50, 99].map(|lag| format!("{lag}: {:.1e}", trace.batch_norms[lag]));
            println!(
                "  layer {} dL/d{}   {}",
                trace.layer_id.layer,
                trace.field,
                norms.join("   ")
            );
        }
    }
    Ok(())
}
