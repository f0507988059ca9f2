//! Time of one optimiser step, of clipping and of the watch, for a model of ten tensors with 4,000
//! elements in f32.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use divan::{black_box, Bencher};
use recurrent_train::{
    clip_global_norm, global_norm, AdamW, AdamWConfig, GradientWatch, Momentum, Optimizer, Params,
    Sgd, SgdConfig,
};

fn main() {
    divan::main();
}

fn problem() -> Result<(Params, GradStore)> {
    let ramp = (Tensor::arange(0f32, 4000.0, &Device::Cpu)? * 1e-3)?;
    let vars = (0..10).map(|index| Ok((format!("w{index}"), Var::from_tensor(&ramp)?)));
    let params = Params::new(vars.collect::<Result<Vec<_>>>()?)?;
    let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (_, var) in params.iter() {
        loss = (loss + var.sqr()?.sum_all()?)?;
    }
    let grads = loss.backward()?;
    Ok((params, grads))
}

fn step(bencher: Bencher, build: impl Fn(&Params) -> Result<Box<dyn Optimizer>>) {
    let (params, grads) = problem().expect("the problem is fixed");
    let mut optimizer = build(&params).expect("valid settings");
    bencher.bench_local(|| optimizer.step(black_box(&grads)));
}

#[divan::bench]
fn adamw(bencher: Bencher) {
    step(bencher, |params| {
        Ok(Box::new(AdamW::new(params, AdamWConfig { lr: 1e-6, ..Default::default() })?))
    });
}

#[divan::bench]
fn sgd(bencher: Bencher) {
    step(bencher, |params| {
        Ok(Box::new(Sgd::new(params, SgdConfig { lr: 1e-6, ..Default::default() })?))
    });
}

#[divan::bench]
fn sgd_nesterov(bencher: Bencher) {
    let config = SgdConfig { lr: 1e-6, momentum: Momentum::Nesterov(0.9), ..Default::default() };
    step(bencher, move |params| Ok(Box::new(Sgd::new(params, config)?)));
}

#[divan::bench]
fn candle_adamw(bencher: Bencher) {
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};
    let (params, grads) = problem().expect("the problem is fixed");
    let vars = params.iter().map(|(_, var)| var.clone()).collect();
    let mut optimizer =
        AdamW::new(vars, ParamsAdamW { lr: 1e-6, ..Default::default() }).expect("valid settings");
    bencher.bench_local(|| optimizer.step(black_box(&grads)));
}

#[divan::bench]
fn norm(bencher: Bencher) {
    let (params, grads) = problem().expect("the problem is fixed");
    bencher.bench_local(|| global_norm(&params, black_box(&grads)));
}

#[divan::bench]
fn clip(bencher: Bencher) {
    let (params, mut grads) = problem().expect("the problem is fixed");
    let mut max_norm = global_norm(&params, &grads).expect("finite");
    bencher.bench_local(|| {
        max_norm *= 0.999; // a little below the last one, so that every call scales
        clip_global_norm(&params, &mut grads, black_box(max_norm))
    });
}

#[divan::bench]
fn watch(bencher: Bencher) {
    let (params, grads) = problem().expect("the problem is fixed");
    let mut watch = GradientWatch::new(&params).expect("ten tensors");
    bencher.bench_local(|| watch.check(0, 1.0, black_box(&grads)).is_ok());
}
