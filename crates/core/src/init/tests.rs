use super::*;
use crate::Place;
use candle::Result;
use candle_nn::{VarBuilder, VarMap};

const LSTM: Gates = Gates { names: &["i", "f", "g", "o"], memory: Some(1), input: Some(0) };
const VANILLA: Gates = Gates { names: &["h"], memory: None, input: None };

fn with<T>(init: &Init, gates: Gates, f: impl FnOnce(&Weights) -> Result<T>) -> Result<T> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu);
    f(&Weights::new(vb, Some(Place::layer(0)), init, gates, 6)?)
}

fn largest(t: &Tensor) -> Result<f64> {
    t.abs()?.flatten_all()?.max(0)?.to_scalar()
}

fn block(t: &Tensor, gate: usize) -> Result<Tensor> {
    t.narrow(0, gate * 6, 6)
}

fn assert_orthogonal(t: &Tensor, gain: f64) -> Result<()> {
    let expected = (Tensor::eye(6, DType::F64, &Device::Cpu)? * (gain * gain))?;
    assert!(largest(&(t.t()?.matmul(t)? - expected)?)? < 1e-13);
    Ok(())
}

#[test]
fn schemes_have_their_bounds() -> Result<()> {
    for (scheme, ih, hh, bias) in [
        (Scheme::PyTorch, 1. / 6f64.sqrt(), 1. / 6f64.sqrt(), 1. / 6f64.sqrt()),
        (Scheme::Candle, (6. / 40f64).sqrt(), 1., 0.),
    ] {
        let init = Init { scheme, ..Init::seeded(3) };
        with(&init, LSTM, |w| {
            for (tensor, bound) in
                [(w.weight_ih(40)?, ih), (w.weight_hh()?, hh), (w.bias_ih()?, bias), (w.bias_hh()?, bias)]
            {
                let largest = largest(&tensor)?;
                assert!(
                    largest <= bound && largest >= 0.8 * bound,
                    "{scheme:?}: {largest}, expected just below {bound}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn keras_is_orthogonal_as_a_whole_and_remembers() -> Result<()> {
    with(&Init { scheme: Scheme::Keras, ..Init::default() }, LSTM, |w| {
        assert_orthogonal(&w.weight_hh()?, 1.0)?;
        let bound = (6. / 64f64).sqrt();
        assert!((0.8 * bound..=bound).contains(&largest(&w.weight_ih(40)?)?));
        assert_eq!(block(&w.bias_ih()?, 1)?.to_vec1::<f64>()?, [1.0; 6]);
        assert_eq!(w.bias_ih()?.sum_all()?.to_scalar::<f64>()?, 6.0);
        assert_eq!(largest(&w.bias_hh()?)?, 0.0);
        Ok(())
    })
}

#[test]
fn blocks_by_gate() -> Result<()> {
    let gates = vec![("g".to_string(), Block::Identity { scale: 0.9 })];
    with(&Init { recurrent: Block::Orthogonal { gain: 1.1 }, gates, ..Init::default() }, LSTM, |w| {
        let hh = w.weight_hh()?;
        for gate in [0, 1, 3] {
            assert_orthogonal(&block(&hh, gate)?, 1.1)?;
        }
        assert!(largest(&(block(&hh, 0)? - block(&hh, 1)?)?)? > 0.1, "each gate draws its own");
        let identity = (Tensor::eye(6, DType::F64, &Device::Cpu)? * 0.9)?;
        assert_eq!(largest(&(block(&hh, 2)? - identity)?)?, 0.0);
        Ok(())
    })
}

#[test]
fn chrono_spreads_the_time_constants() -> Result<()> {
    with(&Init { memory: Bias::Chrono { longest: 100 }, ..Init::default() }, LSTM, |w| {
        let (ih, hh) = (w.bias_ih()?, w.bias_hh()?);
        let forget = block(&ih, 1)?.to_vec1::<f64>()?;
        assert!(forget.iter().all(|b| (0.0..=99f64.ln()).contains(b)), "{forget:?}");
        assert_eq!(largest(&(block(&ih, 0)? + block(&ih, 1)?)?)?, 0.0, "the input gate's is the opposite");
        assert_eq!(largest(&hh.narrow(0, 0, 12)?)?, 0.0);
        assert!(largest(&block(&ih, 2)?)? > 0.0, "other gates stay with the scheme");
        Ok(())
    })
}

#[test]
fn names_and_seeds_decide_not_the_order() -> Result<()> {
    let init = Init::seeded(5);
    let (first, second) = with(&init, LSTM, |w| Ok((w.weight_ih(3)?, w.weight_hh()?)))?;
    let (later, earlier) = with(&init, LSTM, |w| {
        let hh = w.weight_hh()?;
        Ok((w.weight_ih(3)?, hh))
    })?;
    assert_eq!(largest(&(first - &later)?)?, 0.0);
    assert_eq!(largest(&(second - earlier)?)?, 0.0);
    let other = with(&Init::seeded(6), LSTM, |w| w.weight_ih(3))?;
    assert!(largest(&(later - other)?)? > 0.1);
    Ok(())
}

#[test]
fn weights_that_exist_are_kept() -> Result<()> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let weights = |seed| {
        Weights::new(vb.pp("a"), None, Box::leak(Box::new(Init::seeded(seed))), VANILLA, 4)?.weight_hh()
    };
    let first = weights(1)?.to_vec2::<f32>()?;
    assert_eq!(weights(2)?.to_vec2::<f32>()?, first);
    assert!(map.data().lock().expect("not poisoned").contains_key("a.weight_hh"));
    Ok(())
}

#[test]
fn what_a_cell_does_not_have_is_an_error() {
    let error = |init: &Init| match with(init, VANILLA, |_| Ok(())) {
        Ok(()) => panic!("{init:?} must fail"),
        Err(error) => error.to_string(),
    };
    let gates = vec![("f".to_string(), Block::Scheme)];
    assert!(error(&Init { gates, ..Init::default() })
        .starts_with("init gates: expected one of [\"h\"], got \"f\""));
    assert!(error(&Init { memory: Bias::Sum(1.), ..Init::default() })
        .starts_with("init memory: this cell has no gate"));
}
