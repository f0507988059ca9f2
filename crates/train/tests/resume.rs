//! A run that is saved after 10 steps and resumed ends with the same bits as one of 20 steps.

use candle_core::{DType, Device, Result, Tensor, Var};
use recurrent_train::{
    AdamW, AdamWConfig, Momentum, Optimizer, ParamGroup, ParamGroups, Params, Schedule, Sgd,
    SgdConfig, StateDict,
};

type Build = fn(&Params) -> Result<Box<dyn Optimizer>>;

const OPTIMIZERS: [(&str, Build); 4] = [
    ("adamw", |params| {
        let groups =
            ParamGroups::new(params).with(ParamGroup::without_decay(), |name| name == "bias")?;
        Ok(Box::new(AdamW::new(
            groups,
            AdamWConfig { lr: 0.05, weight_decay: 0.1, ..Default::default() },
        )?))
    }),
    ("sgd", |params| Ok(Box::new(Sgd::new(params, SgdConfig { lr: 0.05, ..Default::default() })?))),
    ("classical", |params| Ok(Box::new(Sgd::new(params, sgd(Momentum::Classical(0.9)))?))),
    ("nesterov", |params| Ok(Box::new(Sgd::new(params, sgd(Momentum::Nesterov(0.9)))?))),
];

fn sgd(momentum: Momentum) -> SgdConfig {
    SgdConfig { lr: 0.02, momentum, weight_decay: 0.01 }
}

/// A model with two tensors; the fresh ones of a resumed run start elsewhere, so that loading them
/// is tested too.
fn model(dtype: DType, shift: f64) -> Result<Params> {
    let weight = (Tensor::arange(-5f64, 10.0, &Device::Cpu)?.reshape((3, 5))? * 0.1)?;
    let bias = Tensor::new(&[0.3f64, -0.7, 0.9], &Device::Cpu)?;
    let var = |tensor: Tensor| Var::from_tensor(&(tensor + shift)?.to_dtype(dtype)?);
    Params::new([("weight".to_string(), var(weight)?), ("bias".to_string(), var(bias)?)])
}

fn train(params: &Params, optimizer: &mut dyn Optimizer, steps: u64) -> Result<()> {
    let schedule = Schedule::exponential(0.97)?;
    for _ in 0..steps {
        let step = optimizer.steps();
        let (weight, bias) =
            (params.get("weight").expect("named above"), params.get("bias").expect("named above"));
        let x = (Tensor::arange(0f64, 5.0, &Device::Cpu)? + step as f64)?
            .sin()?
            .to_dtype(weight.dtype())?; // (5,)
        let y = (weight.broadcast_mul(&x)?.sum(1)? + bias.as_tensor())?.tanh()?; // (3,)
        let grads = (y - 0.5)?.sqr()?.sum_all()?.backward()?;
        optimizer.set_lr(optimizer.lr() * schedule.factor(1))?; // the rate depends on its own past
        optimizer.step(&grads)?;
    }
    Ok(())
}

fn bits(state: &StateDict) -> Result<Vec<(String, Vec<u64>)>> {
    let mut all = Vec::new();
    for (name, tensor) in state {
        let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        all.push((name.clone(), values.into_iter().map(f64::to_bits).collect()));
    }
    all.sort();
    Ok(all)
}

#[test]
fn resuming_after_ten_steps_gives_the_same_bits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, build) in OPTIMIZERS {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            let straight = model(dtype, 0.0)?;
            let mut optimizer = build(&straight)?;
            train(&straight, &mut *optimizer, 20)?;

            let first = model(dtype, 0.0)?;
            let mut first_optimizer = build(&first)?;
            train(&first, &mut *first_optimizer, 10)?;
            let (model_file, optimizer_file) =
                (folder.path().join("model"), folder.path().join("optimizer"));
            candle_core::safetensors::save(&first.state()?, &model_file)?;
            candle_core::safetensors::save(&first_optimizer.state()?, &optimizer_file)?;

            let second = model(dtype, 1.0)?;
            let mut second_optimizer = build(&second)?;
            second.load_state(&candle_core::safetensors::load(&model_file, &Device::Cpu)?)?;
            second_optimizer
                .load_state(&candle_core::safetensors::load(&optimizer_file, &Device::Cpu)?)?;
            train(&second, &mut *second_optimizer, 10)?;

            assert_eq!(bits(&straight.state()?)?, bits(&second.state()?)?, "{name} {dtype:?}");
            assert_eq!(
                bits(&optimizer.state()?)?,
                bits(&second_optimizer.state()?)?,
                "{name} {dtype:?}"
            );
            assert_ne!(
                bits(&straight.state()?)?,
                bits(&first.state()?)?,
                "{name} {dtype:?}: nothing was trained"
            );
        }
    }
    Ok(())
}

#[test]
fn later_steps_do_not_change_a_saved_state() -> Result<()> {
    for (name, build) in OPTIMIZERS {
        let params = model(DType::F32, 0.0)?;
        let mut optimizer = build(&params)?;
        train(&params, &mut *optimizer, 3)?;
        let saved = (params.state()?, optimizer.state()?);
        let before = (bits(&saved.0)?, bits(&saved.1)?);
        train(&params, &mut *optimizer, 3)?;
        assert_eq!((bits(&saved.0)?, bits(&saved.1)?), before, "{name}");

        // Nor do they change the loaded tensors, although the optimiser updates in place.
        optimizer.load_state(&saved.1)?;
        train(&params, &mut *optimizer, 3)?;
        assert_eq!(bits(&saved.1)?, before.1, "{name}");
    }
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() -> Result<()> {
    let params = model(DType::F32, 0.0)?;
    let mut optimizer = AdamW::new(&params, AdamWConfig::default())?;
    train(&params, &mut optimizer, 2)?;
    let good = optimizer.state()?;
    let mut bad = good.clone();
    bad.remove("bias.exp_avg");
    bad.remove("steps");
    bad.insert("other.exp_avg".to_string(), Tensor::zeros(3, DType::F32, &Device::Cpu)?);
    bad.insert("weight.exp_avg_sq".to_string(), Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?);
    bad.insert("lr".to_string(), Tensor::new(0.5f64, &Device::Cpu)?);
    let message = optimizer.load_state(&bad).expect_err("four things are wrong").to_string();
    let wanted =
        "adamw state: missing 'bias.exp_avg', 'steps'; superfluous 'other.exp_avg'; misshapen \
                  'weight.exp_avg_sq' (expected f32 [3, 5], found f32 [5, 3])";
    assert!(message.contains(wanted), "{message}");
    assert_eq!(bits(&optimizer.state()?)?, bits(&good)?);

    // values that no run can have written
    for (name, tensor) in [
        ("lr", Tensor::new(f64::NAN, &Device::Cpu)?),
        ("bias.step", Tensor::new(-1i64, &Device::Cpu)?),
    ] {
        let mut bad = good.clone();
        bad.insert(name.to_string(), tensor);
        let message = optimizer.load_state(&bad).expect_err(name).to_string();
        assert!(message.contains(&format!("'{name}'")), "{message}");
        assert_eq!(bits(&optimizer.state()?)?, bits(&good)?);
    }

    // the state of another optimiser
    let sgd = Sgd::new(&params, sgd(Momentum::Classical(0.9)))?.state()?;
    let message = optimizer.load_state(&sgd).expect_err("sgd is not adamw").to_string();
    assert!(
        message.contains("missing 'bias.exp_avg'")
            && message.contains("superfluous 'bias.momentum_buffer'")
    );
    Ok(())
}

#[test]
fn unfreezing_continues_from_the_state_of_the_frozen_run() -> Result<()> {
    let params = model(DType::F64, 0.0)?;
    let frozen = ParamGroups::new(&params).with(ParamGroup::frozen(), |name| name == "bias")?;
    let mut optimizer = AdamW::new(frozen, AdamWConfig { lr: 0.1, ..Default::default() })?;
    let bias = params.get("bias").expect("named above").copy()?;
    train(&params, &mut optimizer, 5)?;
    let kept = params.get("bias").expect("named above").to_vec1::<f64>()?;
    assert_eq!(kept, bias.to_vec1::<f64>()?);

    let mut thawed = AdamW::new(&params, AdamWConfig::default())?;
    thawed.load_state(&optimizer.state()?)?;
    let rate = thawed.lr();
    train(&params, &mut thawed, 1)?;
    let state = thawed.state()?;
    assert_eq!(
        (state["weight.step"].to_scalar::<i64>()?, state["bias.step"].to_scalar::<i64>()?),
        (6, 1)
    );
    // bias-corrected as a first step: every element moves by the learning rate
    for (now, before) in params.get("bias").expect("named above").to_vec1::<f64>()?.iter().zip(kept)
    {
        assert!(((now - before).abs() / (rate * 0.97) - 1.0).abs() < 1e-5, "{now} {before}");
    }
    Ok(())
}
