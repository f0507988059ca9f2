//! The watch on real models, and on gradients set by hand.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_train::{GradientFault, GradientWatch, Params, ZeroCause};

#[test]
fn candles_layer_norm_is_found_by_name() -> Result<()> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let below = candle_nn::linear(3, 4, vb.pp("below"))?;
    let norm = candle_nn::layer_norm(4, 1e-5, vb.pp("norm"))?;
    let above = candle_nn::linear(4, 2, vb.pp("above"))?;
    let params = Params::from_varmap(&map)?;
    let xs = Tensor::arange(0f32, 15.0, &Device::Cpu)?.reshape((5, 3))?;
    let mut watch = GradientWatch::new(&params)?;

    let loss = above.forward(&norm.forward(&below.forward(&xs)?)?)?.sqr()?.mean_all()?;
    let fault = watch
        .check(7, loss.to_scalar::<f32>()?.into(), &loss.backward()?)
        .expect_err("the graph is cut");
    let GradientFault::Absent { step: 7, names } = &fault else {
        panic!("expected absent at step 7, found {fault}")
    };
    assert_eq!(names, &["below.bias", "below.weight", "norm.bias", "norm.weight"]);
    let message = candle_core::Error::from(fault).to_string();
    assert!(
        message.contains("step 7") && message.contains("'below.bias', 'below.weight'"),
        "{message}"
    );

    // the same model with a layer norm made of differentiable operations passes
    let normed = candle_nn::ops::layer_norm_slow(
        &below.forward(&xs)?,
        norm.weight(),
        norm.bias().expect("layer_norm has a bias by default"),
        1e-5,
    )?;
    let loss = above.forward(&normed)?.sqr()?.mean_all()?;
    assert_eq!(watch.check(7, loss.to_scalar::<f32>()?.into(), &loss.backward()?)?, []);
    Ok(())
}

/// Two parameters whose gradients are set by hand.
struct Hand {
    params: Params,
}

impl Hand {
    fn new(dtype: DType) -> Result<Self> {
        let var = |name: &str| Result::Ok((name.to_string(), Var::ones(3, dtype, &Device::Cpu)?));
        Ok(Self { params: Params::new([var("a")?, var("b")?])? })
    }

    fn grads(&self, a: [f64; 3], b: [f64; 3]) -> Result<GradStore> {
        let mut sum = Tensor::zeros((), self.dtype(), &Device::Cpu)?;
        for (_, var) in self.params.iter() {
            sum = (sum + var.sum_all()?)?;
        }
        let mut grads = sum.backward()?;
        for (name, values) in [("a", a), ("b", b)] {
            let var = self.params.get(name).expect("named above");
            grads.insert(var, Tensor::new(&values, &Device::Cpu)?.to_dtype(self.dtype())?);
        }
        Ok(grads)
    }

    fn dtype(&self) -> DType {
        self.params.get("a").expect("named above").dtype()
    }
}

const LIVE: [f64; 3] = [0.0, 1.0, 0.0];
const ZERO: [f64; 3] = [0.0; 3];

#[test]
fn nan_and_infinity_stop_with_step_and_name() -> Result<()> {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let hand = Hand::new(dtype)?;
        let mut watch = GradientWatch::new(&hand.params)?;
        for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let fault =
                watch.check(3, loss, &hand.grads(LIVE, LIVE)?).expect_err("the loss is not finite");
            assert!(matches!(fault, GradientFault::Loss { step: 3, .. }), "{fault}");
        }
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let fault =
            watch.check(4, 1.0, &hand.grads(LIVE, bad)?).expect_err("the gradient is not finite");
        assert_eq!(
            fault.to_string(),
            "step 4: expected finite gradients, found 'b' (1 NaN, 2 infinite)"
        );
        assert_eq!(watch.state().checked, 0, "a step that was stopped is not counted");
    }
    Ok(())
}

#[test]
fn finite_gradients_whose_norm_overflows_pass() -> Result<()> {
    let hand = Hand::new(DType::F64)?;
    let mut watch = GradientWatch::new(&hand.params)?;
    assert_eq!(watch.check(0, 1.0, &hand.grads([1.7e308; 3], [5e-324, 0.0, 0.0])?)?, []);
    Ok(())
}

#[test]
fn a_gradient_that_is_zero_from_the_start_stops_after_ten_steps() -> Result<()> {
    let hand = Hand::new(DType::F32)?;
    let mut watch = GradientWatch::new(&hand.params)?;
    for step in 100..109 {
        let warnings = watch.check(step, 1.0, &hand.grads(LIVE, ZERO)?)?;
        let named: Vec<(&str, u64)> =
            warnings.iter().map(|zero| (zero.name.as_str(), zero.step)).collect();
        assert_eq!(named, if step == 100 { vec![("b", 100)] } else { vec![] });
    }
    let fault =
        watch.check(109, 1.0, &hand.grads(LIVE, ZERO)?).expect_err("zero in all of ten steps");
    let message = fault.to_string();
    assert!(matches!(fault, GradientFault::Dead { step: 109, watched: 10, .. }), "{message}");
    assert!(message.contains("exactly zero in all of the first 10 steps for 'b'"), "{message}");
    Ok(())
}

#[test]
fn one_nonzero_gradient_counts_as_alive() -> Result<()> {
    let hand = Hand::new(DType::F32)?;
    let mut watch = GradientWatch::new(&hand.params)?.zero_steps(4)?;
    let mut warned = Vec::new();
    for step in 0..12 {
        let b = if step == 2 { LIVE } else { ZERO };
        for zero in watch.check(step, 1.0, &hand.grads(LIVE, b)?)? {
            assert_eq!((zero.name.as_str(), &zero.cause), ("b", &ZeroCause::Unknown));
            warned.push(zero.step);
        }
    }
    assert_eq!(warned, [0, 3], "one warning for each series of zeros");
    Ok(())
}

#[test]
fn zeros_are_excused_by_declaration_and_by_underflow() -> Result<()> {
    let hand = Hand::new(DType::F32)?;
    let mut allowed = GradientWatch::new(&hand.params)?
        .zero_steps(3)?
        .allow_zero("b", "its scale starts at 0")?;
    let mut underflow = GradientWatch::new(&hand.params)?.zero_steps(3)?;
    let mut found = Vec::new();
    for step in 0..5 {
        if step == 1 {
            underflow.report_underflow();
        }
        for watch in [&mut allowed, &mut underflow] {
            for zero in watch.check(step, 1.0, &hand.grads(LIVE, ZERO)?)? {
                found.push(zero.to_string());
            }
        }
    }
    let zero =
        |step: u64, cause: &str| format!("step {step}: the gradient of 'b' is exactly zero{cause}");
    let expected = [
        zero(0, ", which is allowed: its scale starts at 0"),
        zero(0, ""),
        zero(2, ", which is allowed: its scale starts at 0"),
        zero(2, ", with underflow on record"),
    ];
    assert_eq!(found, expected);

    // what excuses one parameter does not excuse another
    let mut allowed = GradientWatch::new(&hand.params)?
        .zero_steps(1)?
        .allow_zero("b", "its scale starts at 0")?;
    let fault = allowed.check(0, 1.0, &hand.grads(ZERO, ZERO)?).expect_err("'a' is not allowed");
    assert!(matches!(&fault, GradientFault::Dead { names, .. } if names == &["a"]), "{fault}");
    Ok(())
}

#[test]
fn a_resumed_watch_stops_at_the_same_step() -> Result<()> {
    let hand = Hand::new(DType::F32)?;
    let mut watch = GradientWatch::new(&hand.params)?.zero_steps(4)?;
    for step in 0..3 {
        watch.check(step, 1.0, &hand.grads(LIVE, ZERO)?)?;
    }
    let saved = serde_json::to_string(watch.state()).map_err(candle_core::Error::msg)?;
    let mut resumed = GradientWatch::new(&hand.params)?.zero_steps(4)?;
    resumed.load_state(serde_json::from_str(&saved).map_err(candle_core::Error::msg)?)?;
    assert_eq!(resumed.state(), watch.state());
    assert!(resumed.check(3, 1.0, &hand.grads(LIVE, ZERO)?).is_err());

    let mut narrower = GradientWatch::new(&hand.params.with_prefix("b"))?;
    let message =
        narrower.load_state(watch.state().clone()).expect_err("'a' is not watched").to_string();
    assert!(message.contains("found [a]"), "{message}");
    Ok(())
}

#[test]
fn misspelt_names_and_empty_reasons_are_refused() -> Result<()> {
    let hand = Hand::new(DType::F32)?;
    let watch = GradientWatch::new(&hand.params)?;
    let misspelt =
        watch.clone().allow_zero("c", "a reason").expect_err("no such parameter").to_string();
    assert!(misspelt.contains("expected one of [a, b], found 'c'"), "{misspelt}");
    assert!(watch.clone().allow_zero("a", " ").is_err());
    assert!(watch.zero_steps(0).is_err());
    let empty = GradientWatch::new(&Params::default()).expect_err("nothing to watch").to_string();
    assert!(empty.contains("expected parameters to watch, found no parameters"), "{empty}");
    Ok(())
}
