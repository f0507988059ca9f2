//! Is the time of a train step linear in the number of steps, for 1 and for 3 layers?
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo bench --bench steps
//! ```
//!
//! The variable is for candle's sake: without it, candle 0.11 reads the number of cores from /proc at every matrix product.
//!
//! Forward and backward of an LSTM of 64 units on 8 features, batch 16, f32, on one thread: by kernel, by replay, and as a plain loop
//! over one layer of `candle_nn::LSTM` (a second one would take quadratic time).

use candle::{DType, Device, Module, Result, Tensor};
use candle_nn::rnn::{lstm, LSTMConfig, RNN};
use candle_nn::{VarBuilder, VarMap};
use divan::{black_box, Bencher};
use recurrent::{Layer, LstmConfig, Path, Place, Rnn, Stack};

const STEPS: [usize; 4] = [250, 500, 1000, 2000];
const LAYERS: [usize; 2] = [1, 3];
const BATCH: usize = 16;
const INPUT: usize = 8;
const HIDDEN: usize = 64;

fn main() {
    rayon_on_one_thread();
    divan::main();
}

/// Kernels and candle's matrix products run in rayon's pool.
fn rayon_on_one_thread() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the pool is not yet in use");
}

fn inputs(steps: usize) -> Tensor {
    let wave = (0..BATCH * steps * INPUT).map(|i| (i as f32 * 0.37).sin());
    let flat = Tensor::from_iter(wave, &Device::Cpu).expect("plain memory");
    flat.reshape((BATCH, steps, INPUT)).expect("as many elements")
}

fn train(bencher: Bencher, layers: usize, steps: usize, path: Path) {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let config = LstmConfig::default();
    let layer = |place: Place, input| -> Result<Box<dyn Layer>> {
        Ok(Box::new(Rnn::at(place, input, HIDDEN, &config, vb.clone())?.on(path)))
    };
    let stack = Stack::build(layers, INPUT, layer).expect("sizes fit");
    let xs = inputs(steps);
    bencher.bench_local(|| {
        let step = || stack.forward(&xs)?.sqr()?.mean_all()?.backward();
        black_box(step().expect("runs"))
    });
}

#[divan::bench(args = STEPS, consts = LAYERS, sample_count = 10, sample_size = 1)]
fn kernel<const LAYERS: usize>(bencher: Bencher, steps: usize) {
    train(bencher, LAYERS, steps, Path::Kernel);
}

#[divan::bench(args = STEPS, consts = LAYERS, sample_count = 3, sample_size = 1)]
fn replay<const LAYERS: usize>(bencher: Bencher, steps: usize) {
    train(bencher, LAYERS, steps, Path::Replay);
}

#[divan::bench(args = [250, 500, 1000], sample_count = 3, sample_size = 1)]
fn candle_nn_1_layer(bencher: Bencher, steps: usize) {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let lstm = lstm(INPUT, HIDDEN, LSTMConfig::default(), vb).expect("sizes fit");
    let xs = inputs(steps);
    bencher.bench_local(|| {
        let step = || lstm.states_to_tensor(&lstm.seq(&xs)?)?.sqr()?.mean_all()?.backward();
        black_box(step().expect("runs"))
    });
}
