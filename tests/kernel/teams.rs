//! Teams of threads: layers so wide that several threads run one chunk of examples, each with its
//! own share of the units. Whatever the number of threads, the bits are the same.

use super::{run, shapes, Shape};
use crate::described::{Equations, TwoFieldsConfig};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use proptest::prelude::*;
use recurrent::core::description::{Builder, Value};
use recurrent::core::init::Gates;
use recurrent::core::HiddenState;
use recurrent::{
    CellConfig, Execution, ForwardContext, GatedCell, GatedConfig, GruConfig, Layer, LstmConfig,
    Reset, Rnn, Sequence, TemporalResidual, VanillaConfig,
};
use recurrent_testkit::{cases, close, Tolerance};
use std::time::{Duration, Instant};

/// Few examples, many units, and enough steps.
fn wide(mut shape: Shape) -> Shape {
    shape.batch = shape.batch.min(14) + 3;
    shape.time = shape.time % 12 + 18;
    shape.hidden += 150;
    if let Some(lengths) = &mut shape.lengths {
        let all = lengths.iter().cycle().take(shape.batch);
        *lengths = all.map(|length| (length - 1) % shape.time + 1).collect();
    }
    shape
}

/// h' = tanh(W x + U ⌊3 h⌋): no gradient goes back through time, so that members would have nothing
/// to wait for in the backward pass.
#[derive(Clone)]
struct Quantised;

impl GatedCell for Quantised {
    type State = HiddenState;

    const GATES: Gates = Gates::new(&["n"]);

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let seen = (cell.recurrent() * 3.0).floor();
        let ([a], [b]) = (cell.input_gates(), cell.recurrent_gates(&seen));
        vec![(a + b).tanh()]
    }
}

fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(run)
}

/// Outputs, carry, gradients and recorded gradients at 1, 2, 3, 4, 8 and 16 threads.
fn same_bits<K: CellConfig + Sync>(config: &K, shape: &Shape) {
    for dtype in [DType::F32, DType::F64] {
        let at = |threads| {
            in_pool(threads, || run(config, shape, Execution::Kernel, dtype, 0.0)).expect("runs")
        };
        let expected = at(1);
        for threads in [2, 3, 4, 8, 16] {
            for ((name, found), (_, expected)) in at(threads).iter().zip(&expected) {
                let what = format!("{name}, {dtype:?}, {threads} threads, {shape:?}");
                close(&what, found, expected, Tolerance::Bits).expect("the same bits");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn lstm(
        shape in shapes().prop_map(wide),
        peepholes in any::<bool>(),
        coupled in any::<bool>(),
        proj in 0usize..100,
    ) {
        let proj = (proj > 50).then_some(proj);
        let bias = shape.bias;
        let config = LstmConfig { bias, peepholes, coupled, proj, ..LstmConfig::default() };
        same_bits(&config, &shape);
    }

    #[test]
    fn gru(shape in shapes().prop_map(wide), before in any::<bool>()) {
        let reset = if before { Reset::Before } else { Reset::After };
        same_bits(&GruConfig { bias: shape.bias, reset, ..GruConfig::default() }, &shape);
    }

    #[test]
    fn vanilla(shape in shapes().prop_map(wide)) {
        same_bits(&VanillaConfig { bias: shape.bias, ..VanillaConfig::default() }, &shape);
    }

    #[test]
    fn two_stages(shape in shapes().prop_map(wide)) {
        same_bits(&TwoFieldsConfig(Equations::Lem), &shape);
    }

    #[test]
    fn no_gradient_through_time(shape in shapes().prop_map(wide)) {
        same_bits(&GatedConfig::new(Quantised), &shape);
    }

    #[test]
    fn over_time(shape in shapes().prop_map(wide), alpha in 0.05..0.5) {
        same_bits(&TemporalResidual::new(LstmConfig::default(), alpha), &shape);
    }
}

/// A train step of a wide LSTM on two examples.
fn train_step() -> Result<Tensor> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let lstm = Rnn::new(16, 256, &LstmConfig::default(), vb)?.with_execution(Execution::Kernel);
    for (_, param) in lstm.params() {
        let weights = (0..param.elem_count()).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-3);
        let weights = Tensor::from_iter(weights, &Device::Cpu)?.reshape(param.shape())?;
        let var = map.all_vars().into_iter().find(|var| var.as_tensor().id() == param.id());
        var.expect("every weight is a variable").set(&weights)?;
    }
    let wave = (0..2 * 40 * 16).map(|i| (i as f32 * 0.3).sin());
    let xs = Tensor::from_iter(wave, &Device::Cpu)?.reshape((2, 40, 16))?;
    let (ys, _) = lstm.run(&Sequence::new(xs)?, None, &ForwardContext::default())?;
    let grads = ys.values().sqr()?.mean_all()?.backward()?;
    let gradient = |(_, param)| grads.get(&param).expect("a gradient").flatten_all();
    Tensor::cat(&lstm.params().into_iter().map(gradient).collect::<Result<Vec<_>>>()?, 0)
}

/// Many layers at once in one small pool, from its own threads and from threads outside of it, all
/// end, with the same bits: a team needs no thread that others have.
#[test]
fn teams_share_a_pool() -> Result<()> {
    let expected = in_pool(1, train_step)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    std::thread::scope(|scope| {
        let outside: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (pool.install(train_step), train_step()))).collect();
        let inside = pool.install(|| {
            use rayon::prelude::*;
            (0..6).into_par_iter().map(|_| train_step()).collect::<Vec<_>>()
        });
        let outside = outside.into_iter().map(|thread| thread.join().expect("no panic"));
        for found in inside.into_iter().chain(outside.flat_map(|(a, b)| [a, b])) {
            close("gradients", &found?, &expected, Tolerance::Bits).expect("the same bits");
        }
        Ok(())
    })
}

/// A team leaves a thread of its pool alone that is busy, and when it has ended no thread works.
#[test]
fn a_team_waits_for_nobody() -> Result<()> {
    let expected = in_pool(1, train_step)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    let (start, began) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    pool.spawn(move || {
        start.send(()).expect("somebody waits");
        ended.recv_timeout(Duration::from_secs(60)).expect("the team ends before a minute");
    });
    began.recv().expect("the other thread has begun");
    let begin = Instant::now();
    let found = pool.install(train_step)?;
    assert!(begin.elapsed() < Duration::from_secs(60));
    end.send(()).expect("the other thread waits");
    close("gradients", &found, &expected, Tolerance::Bits).expect("the same bits");
    Ok(())
}
