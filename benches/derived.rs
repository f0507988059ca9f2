//! How fast are kernels, which are derived from a description, compared with replay of the step?
//!
//! ```text
//! cargo bench --bench derived                                one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench derived -- gru     two threads, the cases that match
//! ```
//!
//! The name of a case has its cell, its engine, and `TIMExBATCHxINPUTxHIDDEN`. As in the benchmark
//! `speed`, `forward` saves nothing, and `train` takes the mean of squares of all outputs and its
//! gradients with respect to all weights.

#[allow(dead_code)] // its program
#[path = "../examples/own_cell.rs"]
mod own_cell;
#[allow(dead_code)] // the layers that the other benchmarks compare
mod subject;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use divan::{black_box_drop, Bencher};
use recurrent::layernorm::{Placement, Scope};
use recurrent::{
    CellConfig, Execution, ForwardContext, GatedConfig, GruConfig, Layer, LayerNormLstmConfig,
    LstmConfig, ResidualLstmConfig, Rnn, Sequence, VanillaConfig,
};
use std::fmt;
use subject::{gradients, in_pool, shapes, Shape};

fn main() {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        // Read by candle once per process.
        std::env::set_var("RAYON_NUM_THREADS", "1");
    }
    in_pool(divan::main);
}

struct Case {
    cell: &'static str,
    execution: Execution,
    shape: Shape,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match self.execution {
            Execution::Replay => "replay",
            _ => "kernel",
        };
        write!(f, "{} {} {engine}", self.cell, self.shape)
    }
}

fn cases() -> Vec<Case> {
    let cells = [
        "vanilla",
        "lstm",
        "gru",
        "layernorm-lstm",
        "layernorm-lstm-pytorch",
        "layernorm-lstm-per-gate",
        "kim-residual-lstm",
        "mgu",
    ];
    let both = [Execution::Kernel, Execution::Replay];
    let of = |shape, cell| both.map(|execution| Case { cell, execution, shape });
    shapes()
        .into_iter()
        .flat_map(|shape| cells.map(|cell| of(shape, cell)).into_iter().flatten())
        .collect()
}

fn layer(case: &Case, vb: VarBuilder) -> Box<dyn Layer> {
    fn of<K: CellConfig>(case: &Case, config: K, vb: VarBuilder) -> Box<dyn Layer> {
        let layer = Rnn::new(case.shape.input, case.shape.hidden, &config, vb);
        Box::new(layer.expect("a layer of this size").with_execution(case.execution))
    }
    let normed = LayerNormLstmConfig::default();
    match case.cell {
        "vanilla" => of(case, VanillaConfig::default(), vb),
        "lstm" => of(case, LstmConfig::default(), vb),
        "gru" => of(case, GruConfig::default(), vb),
        "layernorm-lstm" => of(case, normed, vb),
        "layernorm-lstm-pytorch" => {
            of(case, LayerNormLstmConfig { placement: Placement::PyTorchScript, ..normed }, vb)
        }
        "layernorm-lstm-per-gate" => {
            of(case, LayerNormLstmConfig { scope: Scope::PerGate, ..normed }, vb)
        }
        "mgu" => of(case, GatedConfig::new(own_cell::MinimalGatedUnit), vb),
        _ => of(case, ResidualLstmConfig::default(), vb),
    }
}

fn inputs(shape: Shape) -> Sequence {
    let dims = (shape.batch, shape.time, shape.input);
    let xs = Tensor::randn(0f32, 1.0, dims, &Device::Cpu).expect("memory for the input");
    Sequence::new(xs).expect("three axes")
}

#[divan::bench(args = cases(), max_time = 1)]
fn forward(bencher: Bencher, case: &Case) {
    let vars = VarMap::new();
    layer(case, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu));
    let values: std::collections::HashMap<_, _> = {
        let data = vars.data().lock().expect("no thread panics with it");
        data.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    };
    let layer = layer(case, VarBuilder::from_tensors(values, DType::F32, &Device::Cpu));
    let xs = inputs(case.shape);
    bencher.bench_local(|| {
        let run = layer.run(&xs, None, &ForwardContext::default());
        black_box_drop(run.expect("it runs"));
    });
}

#[divan::bench(args = cases(), max_time = 1)]
fn train(bencher: Bencher, case: &Case) {
    let vars = VarMap::new();
    let layer = layer(case, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu));
    let xs = inputs(case.shape);
    bencher.bench_local(|| {
        let (ys, _) = layer.run(&xs, None, &ForwardContext::default()).expect("it runs");
        black_box_drop(gradients(ys.into_values()).expect("gradients"));
    });
}
