use super::*;
use crate::LayerId;
use candle_core::Result;
use candle_nn::VarMap;

const LSTM: Gates = Gates { names: &["i", "f", "g", "o"], forget: Some(1), input: Some(0) };
const VANILLA: Gates = Gates { names: &["h"], forget: None, input: None };

fn with<T>(init: &Init, gates: Gates, f: impl FnOnce(Weights) -> Result<T>) -> Result<T> {
    with_seed(3, init, gates, f)
}

fn with_seed<T>(
    seed: u64,
    init: &Init,
    gates: Gates,
    f: impl FnOnce(Weights) -> Result<T>,
) -> Result<T> {
    let vb = seeded(&VarMap::new(), seed, DType::F64, &Device::Cpu);
    f(Weights::new(vb, Some(LayerId::layer(0)), init, gates, 6)?)
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
        let init = Init { scheme, ..Init::default() };
        with(&init, LSTM, |w| {
            for (tensor, bound) in [
                (w.weight_ih(40)?, ih),
                (w.weight_hh()?, hh),
                (w.bias_ih()?, bias),
                (w.bias_hh()?, bias),
            ] {
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
fn keras_is_orthogonal_as_a_whole_with_forget_bias_one() -> Result<()> {
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
    with(
        &Init {
            recurrent: Block::Orthogonal { gain: 1.1 },
            recurrent_by_gate: gates,
            ..Init::default()
        },
        LSTM,
        |w| {
            let hh = w.weight_hh()?;
            for gate in [0, 1, 3] {
                assert_orthogonal(&block(&hh, gate)?, 1.1)?;
            }
            assert!(largest(&(block(&hh, 0)? - block(&hh, 1)?)?)? > 0.1, "each gate draws its own");
            let identity = (Tensor::eye(6, DType::F64, &Device::Cpu)? * 0.9)?;
            assert_eq!(largest(&(block(&hh, 2)? - identity)?)?, 0.0);
            Ok(())
        },
    )
}

#[test]
fn chrono_spreads_the_time_constants() -> Result<()> {
    with(&Init { forget_bias: ForgetBias::Chrono { longest: 100 }, ..Init::default() }, LSTM, |w| {
        let (ih, hh) = (w.bias_ih()?, w.bias_hh()?);
        let forget = block(&ih, 1)?.to_vec1::<f64>()?;
        assert!(forget.iter().all(|b| (0.0..=99f64.ln()).contains(b)), "{forget:?}");
        assert_eq!(
            largest(&(block(&ih, 0)? + block(&ih, 1)?)?)?,
            0.0,
            "the input gate's is the opposite"
        );
        assert_eq!(largest(&hh.narrow(0, 0, 12)?)?, 0.0);
        assert!(largest(&block(&ih, 2)?)? > 0.0, "other gates stay with the scheme");
        Ok(())
    })
}

#[test]
fn schemes_and_biases_by_gate() -> Result<()> {
    let schemes = vec![("f".to_string(), Scheme::Keras), ("o".to_string(), Scheme::Candle)];
    let biases = vec![("i".to_string(), -2.5), ("o".to_string(), 0.0)];
    let mixed = Init {
        scheme_by_gate: schemes,
        bias_by_gate: biases,
        forget_bias: ForgetBias::Scheme,
        ..Init::default()
    };
    let all = |scheme| Init { scheme, ..Init::default() };
    let draw = |init: &Init| {
        with(init, LSTM, |w| Ok([w.weight_ih(4)?, w.weight_hh()?, w.bias_ih()?, w.bias_hh()?]))
    };
    let (mixed, pytorch) = (draw(&mixed)?, draw(&all(Scheme::PyTorch))?);
    let (keras, candle) = (draw(&all(Scheme::Keras))?, draw(&all(Scheme::Candle))?);
    for (gate, expected) in [&pytorch, &keras, &pytorch, &candle].into_iter().enumerate() {
        for (index, (mixed, expected)) in mixed.iter().zip(expected).enumerate() {
            let own = gate == 0 && index >= 2; // a bias that is set
            if !own {
                assert_eq!(
                    largest(&(block(mixed, gate)? - block(expected, gate)?)?)?,
                    0.0,
                    "{gate} {index}"
                );
            }
        }
    }
    assert_eq!(block(&mixed[2], 0)?.to_vec1::<f64>()?, [-2.5; 6]);
    assert_eq!(block(&mixed[3], 0)?.to_vec1::<f64>()?, [0.0; 6]);
    assert_eq!(block(&mixed[2], 1)?.to_vec1::<f64>()?, [1.0; 6], "Keras remembers");
    assert!(
        largest(&(block(&pytorch[1], 1)? - block(&keras[1], 1)?)?)? > 0.1,
        "the schemes differ"
    );
    Ok(())
}

#[test]
fn a_bias_by_gate_overrides_the_forget_bias() -> Result<()> {
    let biases = vec![("i".to_string(), 0.5), ("f".to_string(), 4.0)];
    let init = Init {
        forget_bias: ForgetBias::Chrono { longest: 50 },
        bias_by_gate: biases,
        ..Init::default()
    };
    with(&init, LSTM, |w| {
        assert_eq!(w.bias_ih()?.narrow(0, 0, 12)?.to_vec1::<f64>()?, [[0.5; 6], [4.0; 6]].concat());
        assert_eq!(largest(&w.bias_hh()?.narrow(0, 0, 12)?)?, 0.0);
        Ok(())
    })
}

#[test]
fn a_projected_output_has_blocks_that_are_not_square() -> Result<()> {
    let product = |w: &Tensor| w.t()?.matmul(w);
    let eye = |size| Tensor::eye(size, DType::F64, &Device::Cpu);
    for (scheme, hh, hr) in [
        (Scheme::PyTorch, 1. / 6f64.sqrt(), 1. / 6f64.sqrt()),
        (Scheme::Candle, (6. / 4f64).sqrt(), 1.),
        (Scheme::Keras, 1., (6. / 10f64).sqrt()),
    ] {
        with(&Init { scheme, ..Init::default() }, LSTM, |w| {
            let w = w.projected(4)?;
            let (recurrent, projection, peephole) =
                (w.weight_hh()?, w.weight_hr()?, w.by_unit("weight_ci")?);
            assert_eq!((recurrent.dims(), projection.dims()), (&[24, 4][..], &[4, 6][..]));
            assert!((0.7 * hr..=hr).contains(&largest(&projection)?), "{scheme:?}");
            assert!(largest(&recurrent)? <= hh, "{scheme:?}");
            assert_eq!(largest(&peephole)? > 0.0, scheme == Scheme::PyTorch);
            if scheme == Scheme::Keras {
                assert!(largest(&(product(&recurrent)? - eye(4)?)?)? < 1e-13);
            }
            Ok(())
        })?;
    }
    with(&Init { recurrent: Block::Orthogonal { gain: 1.2 }, ..Init::default() }, LSTM, |w| {
        let hh = w.projected(4)?.weight_hh()?;
        for gate in 0..4 {
            assert!(largest(&(product(&block(&hh, gate)?)? - (eye(4)? * 1.44)?)?)? < 1e-13);
        }
        Ok(())
    })?;
    let gates = vec![("g".to_string(), Block::Identity { scale: 1.0 })];
    with(&Init { recurrent_by_gate: gates, ..Init::default() }, LSTM, |w| {
        assert_eq!(w.weight_hh()?.dims(), [24, 6]);
        let error = w.projected(4).map(drop).expect_err("not square").to_string();
        let expected = "init: expected a square block of gate \"g\" for the identity, got (6, 4)";
        assert!(error.starts_with(expected), "{error}");
        Ok(())
    })
}

#[test]
fn weights_depend_on_name_and_seed_not_on_order() -> Result<()> {
    let init = Init::default();
    let (first, second) = with(&init, LSTM, |w| Ok((w.weight_ih(3)?, w.weight_hh()?)))?;
    let (later, earlier) = with(&init, LSTM, |w| {
        let hh = w.weight_hh()?;
        Ok((w.weight_ih(3)?, hh))
    })?;
    assert_eq!(largest(&(first - &later)?)?, 0.0);
    assert_eq!(largest(&(second - earlier)?)?, 0.0);
    let other = with_seed(6, &init, LSTM, |w| w.weight_ih(3))?;
    assert!(largest(&(later - other)?)? > 0.1);
    Ok(())
}

#[test]
fn weights_that_exist_are_kept() -> Result<()> {
    let map = VarMap::new();
    let weights = |seed| {
        let vb = seeded(&map, seed, DType::F32, &Device::Cpu).pp("a");
        Weights::new(vb, None, &Init::default(), VANILLA, 4)?.weight_hh()
    };
    let first = weights(1)?.to_vec2::<f32>()?;
    assert_eq!(weights(2)?.to_vec2::<f32>()?, first);
    assert!(map.data().lock().expect("not poisoned").contains_key("a.weight_hh"));
    Ok(())
}

#[test]
fn missing_gates_and_biases_are_errors() {
    let error = |init: &Init| match with(init, VANILLA, |_| Ok(())) {
        Ok(()) => panic!("{init:?} must fail"),
        Err(error) => error.to_string(),
    };
    let gates = vec![("f".to_string(), Block::Scheme)];
    assert!(error(&Init { recurrent_by_gate: gates, ..Init::default() })
        .starts_with("init recurrent_by_gate: expected one of [\"h\"], got \"f\""));
    let biases = vec![("f".to_string(), 1.0)];
    assert!(error(&Init { bias_by_gate: biases, ..Init::default() })
        .starts_with("init bias_by_gate: expected one of [\"h\"], got \"f\""));
    let schemes = vec![("i".to_string(), Scheme::Keras)];
    assert!(error(&Init { scheme_by_gate: schemes, ..Init::default() })
        .starts_with("init scheme_by_gate: expected one of [\"h\"], got \"i\""));
    let biases = vec![("h".to_string(), 1.0)];
    let none = with(&Init { bias_by_gate: biases, ..Init::default() }, VANILLA, |w| w.no_bias())
        .expect_err("has none");
    assert!(
        none.to_string().starts_with("init bias_by_gate: this cell has no bias to set"),
        "{none}"
    );
    assert!(error(&Init { forget_bias: ForgetBias::Constant(1.), ..Init::default() })
        .starts_with("init forget_bias: this cell has no gate"));
}
