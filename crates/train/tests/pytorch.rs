//! The optimisers and the clipping against PyTorch, on the trajectories of `data/generate.py`, in
//! f64.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};
use recurrent_train::{
    clip_global_norm, global_norm, AdamW, AdamWConfig, Momentum, Optimizer, ParamGroup,
    ParamGroups, Params, Sgd, SgdConfig, StateDict,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    problem: BTreeMap<String, Part>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Part {
    shape: Vec<usize>,
    start: Vec<f64>,
    target: Vec<f64>,
    scale: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    settings: Settings,
    bias_group: Option<BiasGroup>,
    clip: Option<f64>,
    norms: Vec<f64>,
    steps: Vec<Recorded>,
    state: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Settings {
    lr: f64,
    weight_decay: f64,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
    momentum: Option<f64>,
    nesterov: Option<bool>,
}

#[derive(Deserialize)]
struct BiasGroup {
    weight_decay: f64,
    lr_scale: f64,
}

#[derive(Deserialize)]
struct Recorded {
    step: usize,
    loss: f64,
    params: BTreeMap<String, Vec<f64>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("data/pytorch.json"))
        .expect("the generator writes what is read here")
}

fn start(problem: &BTreeMap<String, Part>) -> Result<Params> {
    let var = |(name, part): (&String, &Part)| {
        Ok((name.clone(), Var::from_slice(&part.start, part.shape.as_slice(), &Device::Cpu)?))
    };
    Params::new(problem.iter().map(var).collect::<Result<Vec<_>>>()?)
}

fn loss_of(problem: &BTreeMap<String, Part>, params: &Params) -> Result<Tensor> {
    let mut loss = Tensor::new(0f64, &Device::Cpu)?;
    let mut total = Tensor::new(0f64, &Device::Cpu)?;
    for (name, var) in params.iter() {
        let part = &problem[name];
        let tensor =
            |values: &[f64]| Tensor::from_slice(values, part.shape.as_slice(), &Device::Cpu);
        let miss = (var.as_tensor() - tensor(&part.target)?)?;
        loss = (loss + ((miss.sqr()? * tensor(&part.scale)?)?.sum_all()? * 0.5)?)?;
        total = (total + var.sum_all()?)?;
    }
    loss + (total.sqr()? * 0.05)?
}

fn build(case: &Case, params: &Params) -> Result<Box<dyn Optimizer>> {
    let mut groups = ParamGroups::new(params);
    if let Some(bias) = &case.bias_group {
        let group = ParamGroup {
            lr_scale: bias.lr_scale,
            weight_decay: Some(bias.weight_decay),
            ..ParamGroup::default()
        };
        groups = groups.with(group, |name| name.ends_with("bias"))?;
    }
    let Settings { lr, weight_decay, .. } = case.settings;
    if let (Some([beta1, beta2]), Some(eps)) = (case.settings.betas, case.settings.eps) {
        return Ok(Box::new(AdamW::new(
            groups,
            AdamWConfig { lr, beta1, beta2, eps, weight_decay },
        )?));
    }
    let momentum = match (case.settings.momentum, case.settings.nesterov) {
        (Some(0.0), _) => Momentum::None,
        (Some(mu), Some(false)) => Momentum::Classical(mu),
        (Some(mu), Some(true)) => Momentum::Nesterov(mu),
        other => {
            candle_core::bail!("expected the settings of AdamW or SGD, found momentum {other:?}")
        }
    };
    Ok(Box::new(Sgd::new(groups, SgdConfig { lr, momentum, weight_decay })?))
}

/// Relative to the largest element of the tensor.
fn assert_close(what: &str, found: &Tensor, expected: &[f64]) -> Result<()> {
    let found = found.flatten_all()?.to_vec1::<f64>()?;
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / largest;
        assert!(error <= 1e-12, "{what}: {found} against {expected}, relative error {error:.1e}");
    }
    Ok(())
}

fn follow(name: &str, problem: &BTreeMap<String, Part>, case: &Case) -> Result<()> {
    let params = start(problem)?;
    let mut optimizer = build(case, &params)?;
    for step in 1..=20 {
        let loss = loss_of(problem, &params)?;
        let mut grads = loss.backward()?;
        if let Some(max_norm) = case.clip {
            // PyTorch adds 1e-6 to the norm before it divides; a threshold lower by that factor
            // gives the same result.
            let norm = global_norm(&params, &grads)?;
            let clip = clip_global_norm(&params, &mut grads, max_norm * norm / (norm + 1e-6))?;
            let expected = case.norms[step - 1];
            assert!(
                (clip.before / expected - 1.0).abs() < 1e-12,
                "{name} step {step}: {clip:?} {expected}"
            );
            assert_eq!(clip.clipped(), expected > max_norm, "{name} step {step}");
        }
        optimizer.step(&grads)?;
        if let Some(recorded) = case.steps.iter().find(|recorded| recorded.step == step) {
            let what = format!("{name} step {step}");
            assert_close(&format!("{what} loss"), &loss, &[recorded.loss])?;
            for (param, var) in params.iter() {
                assert_close(&format!("{what} {param}"), var, &recorded.params[param])?;
            }
        }
    }
    compare_state(name, &optimizer.state()?, &case.state)
}

/// Every buffer of PyTorch is in the state under the same name, and the state has no other.
fn compare_state(
    case: &str,
    state: &StateDict,
    expected: &BTreeMap<String, Vec<f64>>,
) -> Result<()> {
    for (name, values) in expected {
        assert_close(&format!("{case} state {name}"), &state[name], values)?;
    }
    let others = state.keys().filter(|name| !expected.contains_key(*name));
    for name in others {
        let counter = name == "lr" || name == "steps" || name.ends_with(".step");
        assert!(counter, "{case}: state '{name}' is not known to PyTorch");
    }
    assert_eq!(state["steps"].to_scalar::<i64>()?, 20);
    Ok(())
}

#[test]
fn adamw_is_pytorchs() -> Result<()> {
    let reference = reference();
    let cases: Vec<_> =
        reference.cases.iter().filter(|(name, _)| name.starts_with("adamw")).collect();
    assert_eq!(cases.len(), 3);
    cases.into_iter().try_for_each(|(name, case)| follow(name, &reference.problem, case))
}

#[test]
fn sgd_is_pytorchs() -> Result<()> {
    let reference = reference();
    let cases: Vec<_> =
        reference.cases.iter().filter(|(name, _)| name.starts_with("sgd")).collect();
    assert_eq!(cases.len(), 7);
    let clipped = cases.iter().filter(|(_, case)| case.clip.is_some()).count();
    assert_eq!(clipped, 1);
    cases.into_iter().try_for_each(|(name, case)| follow(name, &reference.problem, case))
}
