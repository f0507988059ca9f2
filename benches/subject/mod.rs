//! The subjects of the benchmarks: layers of one family at one size, of this workspace and of
//! candle-nn, in f32 on the CPU.

use candle_core::backprop::GradStore;
use candle_core::{bail, DType, Device, Module, Result, Tensor};
use candle_nn::rnn::{gru, lstm, GRUConfig, LSTMConfig, GRU, LSTM, RNN};
use candle_nn::{VarBuilder, VarMap};
use clap::ValueEnum;
use recurrent::{
    CellKind, GruConfig, Layer, LayerNormLstmConfig, LstmConfig, RnnConfig, Stream, VanillaConfig,
};
use std::fmt;

/// The number of steps, of examples, of input features and of units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) time: usize,
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) hidden: usize,
}

impl Shape {
    pub(crate) const fn new(time: usize, batch: usize, input: usize, hidden: usize) -> Self {
        Self { time, batch, input, hidden }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.time, self.batch, self.input, self.hidden)
    }
}

/// The shapes of every table: a medium one, MNIST by pixels, a large batch, a single long sequence,
/// and wide layers. In a smoke test they have three steps each.
pub(crate) fn shapes() -> [Shape; 5] {
    let full = [
        Shape::new(100, 32, 64, 128),
        Shape::new(784, 32, 1, 128),
        Shape::new(200, 64, 128, 256),
        Shape::new(1000, 1, 16, 64),
        Shape::new(50, 128, 256, 512),
    ];
    full.map(|shape| Shape { time: if smoke() { 3 } else { shape.time }, ..shape })
}

/// Whether the benchmark is a smoke test.
pub(crate) fn smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// The library to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Library {
    Recurrent,
    CandleNn,
}

/// The family of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    Lstm,
    Gru,
    Vanilla,
    #[value(name = "layernorm-lstm")]
    LayerNormLstm,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no family is skipped").get_name())
    }
}

/// The work to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The outputs only, with weights that are not variables: nothing is saved for a backward pass.
    Forward,
    /// The outputs, the mean of their squares, and the gradients of all weights, but not of the
    /// input.
    Train,
    /// The outputs of the next chunk of a stream, on slices, into a slice.
    Stream,
}

/// Layers and their input.
pub(crate) struct Subject {
    net: Net,
    xs: Tensor,
    mode: Mode,
    stream: Option<Streamed>,
}

enum Net {
    Recurrent(Box<dyn Layer>),
    Lstm(LSTM),
    Gru(GRU),
}

/// A stream between two chunks.
struct Streamed {
    stream: Box<dyn Stream>,
    xs: Vec<f32>,
    ys: Vec<f32>,
}

impl Subject {
    /// Stacked layers of `family`.
    ///
    /// # Errors
    /// If the library does not have such layers: candle-nn has LSTM and GRU, but no stacks and no
    /// streams on slices. (Stacks by hand take quadratic time there, since candle's gradient of a
    /// slice is as large as the whole tensor.)
    pub(crate) fn new(
        library: Library,
        family: Family,
        shape: Shape,
        layers: usize,
        mode: Mode,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let drawn = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let mut net = Net::new(library, family, shape, layers, drawn)?;
        if mode != Mode::Train {
            let vars = vars.data().lock().expect("nobody panicked with it");
            let constants =
                vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().detach())).collect();
            let constants = VarBuilder::from_tensors(constants, DType::F32, &Device::Cpu);
            net = Net::new(library, family, shape, layers, constants)?;
        }
        let xs = inputs(shape)?;
        let stream = match (mode, &net) {
            (Mode::Stream, Net::Recurrent(layers)) => Some(Streamed {
                stream: layers.to_inference()?.stream(shape.batch),
                xs: xs.transpose(0, 1)?.flatten_all()?.to_vec1()?,
                ys: vec![0.0; shape.time * shape.batch * shape.hidden],
            }),
            (Mode::Stream, _) => bail!("candle-nn has no streams on slices"),
            _ => None,
        };
        Ok(Self { net, xs, mode, stream })
    }

    /// The outputs, `(batch, time, hidden)`; those of candle-nn's GRU, `(batch, time * hidden)`.
    pub(crate) fn forward(&self) -> Result<Tensor> {
        match &self.net {
            Net::Recurrent(layers) => layers.forward(&self.xs),
            Net::Lstm(lstm) => composed(lstm, &self.xs),
            Net::Gru(gru) => composed(gru, &self.xs),
        }
    }

    /// Runs the mode's work, and drops its results.
    pub(crate) fn step(&mut self) -> Result<()> {
        if let Some(Streamed { stream, xs, ys }) = &mut self.stream {
            return stream.run(xs, std::hint::black_box(ys));
        }
        match self.mode {
            Mode::Train => drop(std::hint::black_box(gradients(self.forward()?)?)),
            _ => drop(std::hint::black_box(self.forward()?)),
        }
        Ok(())
    }
}

impl Net {
    fn new(
        library: Library,
        family: Family,
        shape: Shape,
        layers: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let Shape { input, hidden, .. } = shape;
        Ok(match (library, family) {
            (Library::Recurrent, _) => Self::Recurrent(stack(family, shape, layers, vb)?),
            (Library::CandleNn, _) if layers > 1 => {
                bail!("candle-nn has no layers on top of each other")
            }
            (Library::CandleNn, Family::Lstm) => {
                Self::Lstm(lstm(input, hidden, LSTMConfig::default(), vb)?)
            }
            (Library::CandleNn, Family::Gru) => {
                Self::Gru(gru(input, hidden, GRUConfig::default(), vb)?)
            }
            (Library::CandleNn, _) => bail!("candle-nn has no {family}"),
        })
    }
}

/// Layers of this workspace, with its defaults.
pub(crate) fn stack(
    family: Family,
    shape: Shape,
    layers: usize,
    vb: VarBuilder,
) -> Result<Box<dyn Layer>> {
    let cell = match family {
        Family::Lstm => CellKind::Lstm(LstmConfig::default()),
        Family::Gru => CellKind::Gru(GruConfig::default()),
        Family::Vanilla => CellKind::Vanilla(VanillaConfig::default()),
        Family::LayerNormLstm => CellKind::LayerNormLstm(LayerNormLstmConfig::default()),
    };
    RnnConfig { layers, ..RnnConfig::new(cell) }.build(shape.input, shape.hidden, vb)
}

/// A sequence `(batch, time, input)` of values of about unit size.
pub(crate) fn inputs(shape: Shape) -> Result<Tensor> {
    let wave = (0..shape.batch * shape.time * shape.input).map(|i| (i as f32 * 0.37).sin());
    Tensor::from_iter(wave, &Device::Cpu)?.reshape((shape.batch, shape.time, shape.input))
}

/// The gradients of the mean of squares of `ys`.
pub(crate) fn gradients(ys: Tensor) -> Result<GradStore> {
    ys.sqr()?.mean_all()?.backward()
}

fn composed(rnn: &impl RNN, xs: &Tensor) -> Result<Tensor> {
    rnn.states_to_tensor(&rnn.seq(xs)?)
}

/// Runs `work` in a pool of `RAYON_NUM_THREADS` threads, or one. Kernels and candle's matrix
/// products run in the pool of their caller; candle reads the variable once per process for its
/// element-wise operations, so a process measures with one number of threads. The stacks are large
/// because candle recurses along the graph: in 2 MiB, candle-nn's LSTM overflows at some thousand
/// steps.
pub(crate) fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let threads =
        std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(1 << 30).build();
    pool.expect("threads can be started").install(work)
}
