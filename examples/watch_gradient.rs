//! Does the gradient of my model reach the first step?
//!
//! A recorder goes into the forward call; the ordinary backward pass fills it with dL/dh_t and dL/dc_t of every layer.
//!
//! ```text
//! cargo run --release --example watch_gradient
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! OUTPUT
//! ```

use candle::{DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::core::init;
use recurrent::{Directions, Keep, Layer, LstmConfig, Pass, Recorder, Sequence, Stack};

fn main() -> Result<()> {
    let (batch, time) = (16, 100);
    for (name, config) in
        [("PyTorch's forget bias", LstmConfig::default()), ("chrono", LstmConfig::chrono(time))]
    {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let lstm = Stack::of(2, Directions::Forward, 4, 32, &config, vb.pp("lstm"))?;
        let readout = init::linear(0, 32, 1, &vb.pp("readout"))?;

        let waves = (0..batch * time * 4).map(|i| (i as f32 * 0.7).sin());
        let xs = Sequence::new(Tensor::from_iter(waves, &Device::Cpu)?.reshape((batch, time, 4))?)?;
        let recorder = Recorder::new(Keep::Norms);
        let (last, _) = lstm.last(&xs, None, &Pass::default().record(&recorder))?;
        readout.forward(&last)?.sqr()?.mean_all()?.backward()?;

        println!("LSTM, {name}: norm of the batch-mean gradient, by lag");
        for trace in recorder.take() {
            let norms = [0, 1, 5, 20, 50, 99].map(|lag| format!("{lag}: {:.1e}", trace.sums[lag]));
            println!("  layer {} dL/d{}   {}", trace.place.layer, trace.field, norms.join("   "));
        }
    }
    Ok(())
}
