//! The sensitivity of the output to the weights.

use super::cells::{sequences, Elman, Linear};
use candle_core::{Device, Tensor};
use recurrent_core::{ForwardContext, Layer, Sequence};
use recurrent_measures::{sensitivity, SensitivityMethod};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::finite_difference::derivative;
use recurrent_testkit::Result;

#[test]
fn a_scalar_linear_network_has_its_closed_form() -> Result<()> {
    let lambda = 0.97;
    let layer = Linear::layer(&[vec![lambda]])?;
    let inputs: Vec<f64> = (0..40).map(|t| (0.3 * f64::from(t)).cos()).collect();
    let xs = Sequence::new(Tensor::from_vec(inputs.clone(), (1, 40, 1), &Device::Cpu)?)?;
    let steps = [1, 13, 40];
    for found in sensitivity(&layer, &xs, &steps, SensitivityMethod::Exact)? {
        // h_t = Σ λ^(t-1-k) x_k, so dh_t/dλ = Σ (t-1-k) λ^(t-2-k) x_k and dh_t/db = h_t where b =
        // 1.
        let t = found.step as i32;
        let sum =
            |f: &dyn Fn(i32) -> f64| (0..t).map(|k| f(t - 1 - k) * inputs[k as usize]).sum::<f64>();
        let by_lambda = sum(&|age| f64::from(age) * lambda.powi(age - 1));
        let by_input = sum(&|age| lambda.powi(age));
        for ((name, found), expected) in found.by_weight.iter().zip([by_lambda, by_input]) {
            assert!(
                (found - expected.abs()).abs() <= 1e-12,
                "{name} at {t}: {found}, expected {expected}"
            );
        }
        assert!((found.norm - by_lambda.hypot(by_input)).abs() <= 1e-12);
    }
    let random = SensitivityMethod::Random { count: 1, seed: 3 };
    let both =
        [random, SensitivityMethod::Exact].map(|passes| sensitivity(&layer, &xs, &steps, passes));
    let [a, b] = both.map(|found| found.expect("a number").remove(2).norm);
    assert!((a - b).abs() <= 1e-12 * b, "one sign is exact for one output");
    Ok(())
}

#[test]
fn sensitivity_grows_with_the_memory() -> Result<()> {
    // Under a constant input dh/dλ tends to 1/(1 - λ)².
    let xs = Sequence::new(Tensor::ones((1, 1000, 1), candle_core::DType::F64, &Device::Cpu)?)?;
    for lambda in [0.5, 0.9, 0.97] {
        let found =
            sensitivity(&Linear::layer(&[vec![lambda]])?, &xs, &[1000], SensitivityMethod::Exact)?
                .remove(0);
        let expected = 1.0 / (1.0 - lambda) / (1.0 - lambda);
        assert!(
            (found.by_weight[0].1 / expected - 1.0).abs() <= 1e-9,
            "{found:?}, expected {expected}"
        );
    }
    Ok(())
}

#[test]
fn exact_equals_finite_differences_and_random_is_close() -> Result<()> {
    let (layer, xs) = (Elman::layer(2, 4, 1.1)?, sequences(1, 6, 2)?);
    let exact = sensitivity(&layer, &xs, &[6], SensitivityMethod::Exact)?.remove(0);
    let u = layer.cell().u.copy()?;
    let mut squares = 0.0;
    for unit in 0..4 {
        for layer_id in 0..16 {
            let moved = |step: f64| {
                let mut values = u.flatten_all()?.to_vec1::<f64>()?;
                values[layer_id] += step;
                let u = Tensor::from_vec(values, (4, 4), &Device::Cpu)?;
                let moved = recurrent_core::Rnn::from_cell(Elman { u, ..layer.cell().clone() });
                let (last, _) = moved.last(&xs, None, &ForwardContext::default())?;
                Ok(last.to_vec2::<f64>()?[0][unit])
            };
            squares += derivative(moved)?.powi(2);
        }
    }
    let (name, found) = &exact.by_weight[1];
    assert!(
        name == "u" && (found / squares.sqrt() - 1.0).abs() <= 1e-9,
        "{found}, expected {}",
        squares.sqrt()
    );
    let random = sensitivity(&layer, &xs, &[6], SensitivityMethod::Random { count: 400, seed: 1 })?
        .remove(0);
    assert!(
        (random.norm / exact.norm - 1.0).abs() <= 0.1,
        "{}, expected {}",
        random.norm,
        exact.norm
    );
    Ok(())
}

#[test]
fn the_median_is_over_examples_and_invalid_input_is_refused() -> Result<()> {
    let (layer, xs) = (Elman::layer(2, 4, 1.1)?, sequences(3, 5, 2)?);
    let found = sensitivity(&layer, &xs, &[5], SensitivityMethod::Exact)?[0].norm;
    let own = |row| {
        let one = Sequence::new(xs.values().narrow(0, row, 1)?.contiguous()?)?;
        Ok::<_, candle_core::Error>(
            sensitivity(&layer, &one, &[5], SensitivityMethod::Exact)?[0].norm,
        )
    };
    let mut each = [own(0)?, own(1)?, own(2)?];
    each.sort_by(f64::total_cmp);
    assert_eq!(found, each[1]);
    expect_error(
        "step",
        sensitivity(&layer, &xs, &[6], SensitivityMethod::Exact),
        "sensitivity steps: expected each from 1 to 5, got 6",
    )?;
    let frozen = Elman { w: layer.cell().w.detach(), u: layer.cell().u.detach() };
    let frozen = recurrent_core::Rnn::from_cell(frozen);
    expect_error(
        "frozen",
        sensitivity(&frozen, &xs, &[5], SensitivityMethod::Exact),
        "sensitivity weights: expected variables",
    )
}
