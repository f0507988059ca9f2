//! Each optimiser trains a tiny regression, in each dtype, and treats gradients and groups as
//! documented.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use recurrent_train::{
    clip_global_norm, AdamW, AdamWConfig, Momentum, Optimizer, ParamGroup, ParamGroups, Params,
    Sgd, SgdConfig,
};

const MODES: [(&str, f64, Momentum); 3] = [
    ("sgd", 0.2, Momentum::None),
    ("sgd classical", 0.05, Momentum::Classical(0.8)),
    ("sgd nesterov", 0.05, Momentum::Nesterov(0.8)),
];

fn optimizers(params: &Params) -> Result<Vec<(&'static str, Box<dyn Optimizer>)>> {
    let adamw = AdamW::new(params, AdamWConfig { lr: 0.02, ..Default::default() })?;
    let mut all: Vec<(&'static str, Box<dyn Optimizer>)> = vec![("adamw", Box::new(adamw))];
    for (name, lr, momentum) in MODES {
        all.push((
            name,
            Box::new(Sgd::new(params, SgdConfig { lr, momentum, weight_decay: 0.0 })?),
        ));
    }
    Ok(all)
}

struct Regression {
    params: Params,
    weight: Var,
    bias: Var,
    xs: Tensor, // (points, features)
    ys: Tensor, // (points, outputs)
}

impl Regression {
    fn new(dtype: DType) -> Result<Self> {
        let device = &Device::Cpu;
        let xs = (Tensor::arange(0f64, 36.0, device)? * 2.3)?.sin()?.reshape((12, 3))?;
        // (features, outputs)
        let truth = Tensor::new(&[[0.5f64, -1.0], [1.5, 0.25], [-0.75, 1.0]], device)?;
        let ys = xs.matmul(&truth)?.broadcast_add(&Tensor::new(&[0.5f64, -0.25], device)?)?;
        let weight = Var::zeros((3, 2), dtype, device)?;
        let bias = Var::zeros(2, dtype, device)?;
        let params = Params::new([
            ("weight".to_string(), weight.clone()),
            ("bias".to_string(), bias.clone()),
        ])?;
        Ok(Self { params, weight, bias, xs: xs.to_dtype(dtype)?, ys: ys.to_dtype(dtype)? })
    }

    fn loss(&self) -> Result<Tensor> {
        let found = self.xs.matmul(&self.weight)?.broadcast_add(&self.bias)?;
        (found - &self.ys)?.sqr()?.mean_all()
    }

    fn loss_value(&self) -> Result<f64> {
        self.loss()?.to_dtype(DType::F64)?.to_scalar::<f64>()
    }

    fn train(&self, optimizer: &mut dyn Optimizer, steps: usize) -> Result<()> {
        for _ in 0..steps {
            let grads = self.loss()?.backward()?;
            optimizer.step(&grads)?;
        }
        Ok(())
    }
}

#[test]
fn each_optimiser_fits_the_line() -> Result<()> {
    for (dtype, factor) in
        [(DType::F64, 1e-8), (DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 1e-2)]
    {
        for index in 0..=MODES.len() {
            let problem = Regression::new(dtype)?;
            let (name, mut optimizer) = optimizers(&problem.params)?.swap_remove(index);
            let before = problem.loss_value()?;
            problem.train(&mut *optimizer, 600)?;
            let after = problem.loss_value()?;
            assert!(after < factor * before, "{name} {dtype:?}: loss {before} -> {after}");
            assert_eq!(optimizer.steps(), 600);
        }
    }
    Ok(())
}

#[test]
fn half_precision_follows_f32() -> Result<()> {
    for index in 0..=MODES.len() {
        let mut ends = Vec::new();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let problem = Regression::new(dtype)?;
            let (_, mut optimizer) = optimizers(&problem.params)?.swap_remove(index);
            problem.train(&mut *optimizer, 20)?;
            ends.push(problem.weight.to_dtype(DType::F32)?);
        }
        for (end, tolerance) in ends[1..].iter().zip([0.01, 0.05]) {
            let apart = (end - &ends[0])?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(apart > 0.0 && apart < tolerance, "optimiser {index}: apart by {apart}");
        }
    }
    Ok(())
}

fn grads_with(problem: &Regression, grad: Tensor) -> Result<GradStore> {
    let mut grads = problem.loss()?.backward()?;
    grads.insert(&problem.weight, grad);
    Ok(grads)
}

#[test]
fn strided_gradients_are_read_by_their_layout() -> Result<()> {
    let rows = Tensor::arange(1f32, 7.0, &Device::Cpu)?.reshape((2, 3))?;
    for index in 0..=MODES.len() {
        let mut ends = Vec::new();
        for grad in [rows.t()?, rows.t()?.contiguous()?] {
            let problem = Regression::new(DType::F32)?;
            let (_, mut optimizer) = optimizers(&problem.params)?.swap_remove(index);
            for scale in [1.0, -0.3] {
                // Multiplying the transpose by a number would make it contiguous, so the rows are
                // scaled before the transpose.
                let grad =
                    if grad.is_contiguous() { (&grad * scale)? } else { (&rows * scale)?.t()? };
                optimizer.step(&grads_with(&problem, grad)?)?;
            }
            ends.push(problem.weight.to_vec2::<f32>()?);
        }
        assert_eq!(ends[0], ends[1], "optimiser {index}");
    }
    Ok(())
}

#[test]
fn gradients_that_do_not_fit_change_nothing() -> Result<()> {
    for (grad, found) in [
        (Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?, "found f32 [2, 3]"),
        (Tensor::zeros((3, 2), DType::F64, &Device::Cpu)?, "found f64 [3, 2]"),
    ] {
        for index in 0..=MODES.len() {
            let problem = Regression::new(DType::F32)?;
            let (name, mut optimizer) = optimizers(&problem.params)?.swap_remove(index);
            let grads = grads_with(&problem, grad.clone())?;
            let message =
                optimizer.step(&grads).expect_err("the gradient does not fit").to_string();
            assert!(
                message.contains("gradient of 'weight': expected f32 [3, 2]"),
                "{name}: {message}"
            );
            assert!(message.contains(found), "{name}: {message}");
            assert_eq!(
                problem.bias.to_vec1::<f32>()?,
                [0.0, 0.0],
                "{name}: bias comes first and must not move"
            );
            assert_eq!(optimizer.steps(), 0);
        }
    }
    Ok(())
}

#[test]
fn frozen_parameters_are_neither_updated_nor_clipped() -> Result<()> {
    let problem = Regression::new(DType::F32)?;
    let groups =
        || ParamGroups::new(&problem.params).with(ParamGroup::frozen(), |name| name == "weight");
    let all: [Box<dyn Optimizer>; 2] = [
        Box::new(AdamW::new(groups()?, AdamWConfig { weight_decay: 0.5, ..Default::default() })?),
        Box::new(Sgd::new(groups()?, SgdConfig { weight_decay: 0.5, ..Default::default() })?),
    ];
    problem.weight.set(&problem.weight.ones_like()?)?;
    for mut optimizer in all {
        let before = problem.bias.to_vec1::<f32>()?;
        let mut grads = problem.loss()?.backward()?;
        let weight = grads.get(&problem.weight).expect("present").to_vec2::<f32>()?;
        let bias = grads.get(&problem.bias).expect("present").to_vec1::<f32>()?;
        let clip = clip_global_norm(optimizer.trainable(), &mut grads, 1e-3)?;
        let bias_norm = f64::from(bias[0]).hypot(f64::from(bias[1]));
        assert!((clip.before - bias_norm).abs() < 1e-9 && clip.clipped(), "{clip:?} {bias_norm}");
        assert_eq!(grads.get(&problem.weight).expect("present").to_vec2::<f32>()?, weight);
        optimizer.step(&grads)?;
        assert_eq!(problem.weight.to_vec2::<f32>()?, [[1.0; 2]; 3]);
        assert_ne!(problem.bias.to_vec1::<f32>()?, before);
    }
    Ok(())
}

#[test]
fn a_parameter_without_gradient_does_not_change() -> Result<()> {
    for index in 0..=MODES.len() {
        let problem = Regression::new(DType::F32)?;
        let (name, mut optimizer) = optimizers(&problem.params)?.swap_remove(index);
        problem.train(&mut *optimizer, 3)?;
        let before = problem.weight.to_vec2::<f32>()?;
        let mut grads = problem.loss()?.backward()?;
        grads.remove(&problem.weight);
        optimizer.step(&grads)?;
        assert_eq!(problem.weight.to_vec2::<f32>()?, before, "{name}");
        let state = optimizer.state()?;
        assert_eq!(state["weight.step"].to_scalar::<i64>()?, 3);
        assert_eq!((state["bias.step"].to_scalar::<i64>()?, optimizer.steps()), (4, 4));
    }
    Ok(())
}
