//! 100,000 steps forward, backward and drop (20,000 by replay, which is slower), in a thread with a
//! 2 MiB stack. A plain loop aborts the process at a few thousand steps.

use anyhow::{ensure, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{
    Bidirectional, CellConfig, Execution, ForwardContext, GradientRecorder, GruConfig, Layer,
    LayerId, LstmConfig, Recompute, Record, Rnn, Sequence, Stack, TemporalResidual, VanillaConfig,
};
use std::thread;

const STEPS: usize = 100_000;
const STEPS_BY_REPLAY: usize = 20_000;
const SIZE: (usize, usize, usize) = (2, 2, 4); // batch, input, hidden

#[test]
fn a_layer_by_replay() -> Result<()> {
    in_a_small_stack(STEPS_BY_REPLAY, |vb| {
        Ok(Box::new(rnn(&LstmConfig::default(), vb)?.with_execution(Execution::Replay)))
    })
}

#[test]
fn a_layer_by_kernel() -> Result<()> {
    in_a_small_stack(STEPS, |vb| {
        Ok(Box::new(rnn(&LstmConfig::default(), vb)?.with_execution(Execution::Kernel)))
    })
}

#[test]
fn a_residual_over_time() -> Result<()> {
    in_a_small_stack(STEPS, |vb| {
        Ok(Box::new(rnn(&TemporalResidual::<VanillaConfig>::default(), vb)?))
    })
}

#[test]
fn three_layers_by_replay() -> Result<()> {
    in_a_small_stack(STEPS_BY_REPLAY, |vb| stack(&VanillaConfig::default(), Execution::Replay, vb))
}

#[test]
fn three_layers_by_kernel() -> Result<()> {
    in_a_small_stack(STEPS, |vb| stack(&GruConfig::default(), Execution::Auto, vb))
}

#[test]
fn both_directions_by_kernel() -> Result<()> {
    in_a_small_stack(STEPS, |vb| {
        let forward = rnn(&LstmConfig::default(), vb.pp("forward"))?;
        let reverse = rnn(&LstmConfig::default(), vb.pp("reverse"))?.reversed();
        Ok(Box::new(Bidirectional::new(forward, reverse)?))
    })
}

#[test]
fn square_root_checkpoints_by_kernel() -> Result<()> {
    in_a_small_stack(STEPS, |vb| {
        Ok(Box::new(rnn(&LstmConfig::default(), vb)?.with_recompute(Recompute::SquareRoot)?))
    })
}

fn rnn<K: CellConfig>(config: &K, vb: VarBuilder) -> candle_core::Result<Rnn<K::Cell>> {
    Rnn::new(SIZE.1, SIZE.2, config, vb)
}

fn stack<K: CellConfig>(
    config: &K,
    path: Execution,
    vb: VarBuilder,
) -> candle_core::Result<Box<dyn Layer>> {
    let layer = |layer_id: LayerId, input| -> candle_core::Result<Box<dyn Layer>> {
        Ok(Box::new(
            Rnn::at_layer(layer_id, input, SIZE.2, config, vb.clone())?.with_execution(path),
        ))
    };
    Ok(Box::new(Stack::build(SIZE.1, 3, layer)?))
}

type Build = fn(VarBuilder) -> candle_core::Result<Box<dyn Layer>>;

fn in_a_small_stack(steps: usize, build: Build) -> Result<()> {
    let worker = thread::Builder::new().stack_size(2 << 20).spawn(move || train(steps, build))?;
    worker.join().expect("it does not panic")
}

/// One recorded training step on an example of all steps and one of half; then drops everything.
fn train(steps: usize, build: Build) -> Result<()> {
    let (batch, input, _) = SIZE;
    let vars = VarMap::new();
    let layer = build(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let wave = |at: usize| ((at * 7919) as f32).sin();
    let xs: Vec<_> = (0..batch * steps * input).map(wave).collect();
    let xs = Tensor::from_vec(xs, (batch, steps, input), &Device::Cpu)?;
    let xs = Sequence::padded(xs, &[steps, steps / 2])?;
    let recorder = GradientRecorder::new(Record::Norms);
    let (ys, end) = layer.run(&xs, None, &ForwardContext::train(1, 1).record(&recorder))?;
    let loss = ys.values().sqr()?.mean_all()?;
    let grads = loss.backward()?;
    for (name, param) in layer.params() {
        let norm = match grads.get(&param) {
            None => 0.0,
            Some(gradient) => gradient.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt(),
        };
        ensure!(norm.is_finite() && norm > 0.0, "{name}: the gradient has the norm {norm}");
    }
    for trace in recorder.take() {
        ensure!(trace.lags() == steps + 1, "{} lags", trace.lags());
        ensure!(
            trace.norms_at(steps / 2).count() == 2 && trace.norms_at(steps / 2 + 1).count() == 1
        );
    }
    drop((grads, loss, ys, end));
    Ok(())
}
