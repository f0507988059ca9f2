//! How long do a forward pass and a train step take, compared with candle-nn? Is the time linear in
//! the number of steps? What does a recorder cost? How long does a step of an inference layer take?
//!
//! ```text
//! cargo bench --bench speed                              everything, with one thread and with two
//! cargo bench --bench speed -- 'train::lstm 1 layer'     the cases that match
//! RAYON_NUM_THREADS=4 cargo bench --bench speed -- steps     with four threads
//! ```
//!
//! The name of a case has its family, its layers, and `TIMExBATCHxINPUTxHIDDEN`. `forward` runs
//! with weights that are not variables, so that nothing is saved. `train` takes the mean of squares
//! of all outputs and its gradients with respect to all weights, but not the input. Both include
//! dropping their results. Each number of threads has its own process, because candle reads the
//! number for its element-wise operations once per process.
//!
//! A case takes a second, or one sample; all take about six minutes on two cores.

mod subject;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use divan::{black_box_drop, Bencher};
use recurrent::{
    Execution, ForwardContext, GradientRecorder, Layer, LstmConfig, Record, Rnn, Sequence,
};
use std::fmt;
use std::process::{exit, Command};
use subject::{
    gradients, in_pool, inputs, shapes, smoke, stack, Family, Library, Mode, Shape, Subject,
};

const FAMILIES: [Family; 4] = [Family::Lstm, Family::Gru, Family::Vanilla, Family::LayerNormLstm];
const MIDDLING: [Family; 2] = [Family::Lstm, Family::Gru];

fn main() {
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return in_pool(divan::main);
    }
    let threads = if smoke() { vec!["2"] } else { vec!["1", "2"] };
    for threads in threads {
        println!("\n{threads} thread{}", if threads == "1" { "" } else { "s" });
        let this = std::env::current_exe().expect("this program has a file");
        let mut again = Command::new(this);
        again.args(std::env::args_os().skip(1)).env("RAYON_NUM_THREADS", threads);
        let status = again.status().expect("this program starts again");
        if !status.success() {
            exit(status.code().unwrap_or(1));
        }
    }
}

/// The column of a line of the table.
struct Case {
    library: Library,
    family: Family,
    layers: usize,
    shape: Shape,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { library, family, layers, shape } = self;
        write!(f, "{family} {layers} layer{} {shape}", if *layers == 1 { "" } else { "s" })?;
        match library {
            Library::Recurrent => Ok(()),
            Library::CandleNn => write!(f, " candle-nn"),
        }
    }
}

/// Ours, and candle-nn's if it has such layers.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        for layers in [1, 2] {
            for shape in shapes() {
                cases.push(Case { library: Library::Recurrent, family, layers, shape });
                if layers == 1 && MIDDLING.contains(&family) {
                    cases.push(Case { library: Library::CandleNn, family, layers, shape });
                }
            }
        }
    }
    cases
}

fn measure(bencher: Bencher, case: &Case, mode: Mode) {
    let mut subject =
        Subject::new(case.library, case.family, case.shape, case.layers, mode).expect("sizes fit");
    subject.step().expect("runs"); // warm
    bencher.bench_local(|| subject.step().expect("runs"));
}

#[divan::bench(args = cases(), sample_count = 25, sample_size = 1, max_time = 1)]
fn forward(bencher: Bencher, case: &Case) {
    measure(bencher, case, Mode::Forward);
}

#[divan::bench(args = cases(), sample_count = 25, sample_size = 1, max_time = 1)]
fn train(bencher: Bencher, case: &Case) {
    measure(bencher, case, Mode::Train);
}

/// The train step, alone and with a recorder.
mod recorder {
    use super::*;

    fn recorded(bencher: Bencher, family: Family, recorder: Option<GradientRecorder>) {
        let shape = shapes()[0];
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let layer = stack(family, shape, 1, vb).expect("sizes fit");
        let xs = Sequence::new(inputs(shape).expect("plain memory")).expect("three axes");
        let context = ForwardContext { record: recorder.as_ref(), ..ForwardContext::default() };
        let step = || -> Result<()> {
            let (ys, _) = layer.run(&xs, None, &context)?;
            black_box_drop(gradients(ys.into_values())?);
            black_box_drop(recorder.as_ref().map(GradientRecorder::take));
            Ok(())
        };
        step().expect("runs"); // warm
        bencher.bench_local(|| step().expect("runs"));
    }

    #[divan::bench(args = FAMILIES, sample_count = 50, sample_size = 1, max_time = 3)]
    fn absent(bencher: Bencher, family: Family) {
        recorded(bencher, family, None);
    }

    #[divan::bench(args = FAMILIES, sample_count = 50, sample_size = 1, max_time = 3)]
    fn norms(bencher: Bencher, family: Family) {
        recorded(bencher, family, Some(GradientRecorder::new(Record::Norms)));
    }
}

/// One step of an inference layer on one example, as in a stream.
mod frozen {
    use super::*;

    const HIDDEN: [usize; 3] = [64, 128, 256];

    fn stream(bencher: Bencher, family: Family, hidden: usize) {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let layer = stack(family, Shape::new(1, 1, 16, hidden), 1, vb).expect("sizes fit");
        let mut stream = layer.to_inference().expect("a kernel").stream(1);
        let (x, mut y) = ([0.5; 16], vec![0.0; hidden]);
        bencher.bench_local(|| stream.step(&x, &mut y).expect("sizes fit"));
    }

    #[divan::bench(args = HIDDEN)]
    fn lstm(bencher: Bencher, hidden: usize) {
        stream(bencher, Family::Lstm, hidden);
    }

    #[divan::bench(args = HIDDEN)]
    fn gru(bencher: Bencher, hidden: usize) {
        stream(bencher, Family::Gru, hidden);
    }
}

/// The train step of an LSTM over an increasing number of steps: by kernel, by replay of the cell's
/// step, and with candle-nn.
mod steps {
    use super::*;

    const STEPS: [usize; 4] = [250, 500, 1000, 2000];

    fn shape(steps: usize) -> Shape {
        Shape::new(if smoke() { 3 } else { steps }, 16, 8, 64)
    }

    fn lstm(bencher: Bencher, library: Library, layers: usize, steps: usize) {
        measure(
            bencher,
            &Case { library, family: Family::Lstm, layers, shape: shape(steps) },
            Mode::Train,
        );
    }

    #[divan::bench(args = STEPS, sample_count = 10, sample_size = 1)]
    fn kernel_1_layer(bencher: Bencher, steps: usize) {
        lstm(bencher, Library::Recurrent, 1, steps);
    }

    #[divan::bench(args = STEPS, sample_count = 10, sample_size = 1)]
    fn kernel_3_layers(bencher: Bencher, steps: usize) {
        lstm(bencher, Library::Recurrent, 3, steps);
    }

    #[divan::bench(args = STEPS, sample_count = 3, sample_size = 1)]
    fn candle_nn_1_layer(bencher: Bencher, steps: usize) {
        lstm(bencher, Library::CandleNn, 1, steps);
    }

    #[divan::bench(args = STEPS, sample_count = 3, sample_size = 1)]
    fn replay_1_layer(bencher: Bencher, steps: usize) {
        let (vars, shape) = (VarMap::new(), shape(steps));
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let rnn =
            Rnn::new(shape.input, shape.hidden, &LstmConfig::default(), vb).expect("sizes fit");
        let rnn: Box<dyn Layer> = Box::new(rnn.with_execution(Execution::Replay));
        let xs: Tensor = inputs(shape).expect("plain memory");
        let step = || gradients(candle_core::Module::forward(&rnn, &xs)?);
        bencher.bench_local(|| black_box_drop(step().expect("runs")));
    }
}
