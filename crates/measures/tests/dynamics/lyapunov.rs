//! Lyapunov exponents of known systems.

use super::cells::{layer, sequences, sheared, silence, Henon, Linear};
use candle_core::{Device, Tensor};
use recurrent_core::{Carry, Rnn};
use recurrent_lstm::LstmConfig;
use recurrent_measures::{lyapunov, temporal_jacobian_of_example, Derivative, Trajectory};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::Result;

fn is(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn exponents_of_a_linear_network_are_the_logarithms_of_its_moduli() -> Result<()> {
    let layer = Linear::layer(&sheared())?;
    let trajectory = Trajectory::new(&layer, &silence(1, 600)?, None)?;
    let found = lyapunov(&trajectory, 4, 100)?;
    for (found, modulus) in found.exponents.iter().zip([0.9f64, 0.9, 0.7, 0.4]) {
        is("exponent", *found, modulus.ln(), 4e-3); // a complex pair turns: the mean settles as 1/T
    }
    // The sum over the pair does not depend on the phase of the rotation, nor do real eigenvalues.
    is("pair", found.exponents[0] + found.exponents[1], 2.0 * 0.9f64.ln(), 1e-12);
    is("third", found.exponents[2], 0.7f64.ln(), 1e-12);
    is("sum", found.sum().expect("all are known"), (0.81f64 * 0.7 * 0.4).ln(), 1e-12);
    is("dimension", found.kaplan_yorke().expect("it shrinks"), 0.0, 0.0);
    let rate = found.condition_rate().expect("all are known");
    is(
        "condition",
        found.log10_condition(100).expect("all"),
        rate * 100.0 / std::f64::consts::LN_10,
        1e-12,
    );
    assert_eq!((found.size, found.steps), (4, 500));
    let two = lyapunov(&trajectory, 2, 100)?;
    assert_eq!((two.sum(), two.condition_rate()), (None, None));
    is("of two", two.largest(), 0.9f64.ln(), 4e-3);
    Ok(())
}

#[test]
fn a_scaled_orthogonal_matrix_grows_the_same_in_all_directions() -> Result<()> {
    let (c, s) = (1.5 * 0.6, 1.5 * 0.8);
    let layer = Linear::layer(&[vec![c, 0.0, -s], vec![0.0, 1.5, 0.0], vec![s, 0.0, c]])?;
    let trajectory = Trajectory::new(&layer, &silence(2, 50)?, None)?;
    let found = lyapunov(&trajectory, 3, 0)?;
    found.exponents.iter().for_each(|exponent| is("exponent", *exponent, 1.5f64.ln(), 1e-12));
    is("dimension", found.kaplan_yorke().expect("it does not shrink"), 3.0, 0.0);
    is("condition", found.condition_rate().expect("all"), 0.0, 1e-12);
    Ok(())
}

#[test]
fn the_henon_map_has_its_published_exponents() -> Result<()> {
    // a = 1.4, b = 0.3: 0.419 and -1.623 nats, dimension 1.258 (Sprott, Chaos and Time-Series
    // Analysis, 2003); the sum is ln 0.3.
    let layer = Rnn::from_cell(Henon);
    let start = Tensor::new(&[[0.1f64, 0.1], [-0.2, 0.3], [0.3, -0.1], [0.5, 0.05]], &Device::Cpu)?;
    let start = Carry::Cell(vec![("h", start)]);
    let trajectory = Trajectory::new(&layer, &silence(4, 600)?, Some(&start))?;
    let found = lyapunov(&trajectory, 2, 100)?;
    is("first", found.exponents[0], 0.4192, 0.02);
    is("second", found.exponents[1], -1.6232, 0.02);
    is("sum", found.sum().expect("both"), 0.3f64.ln(), 1e-12);
    is("dimension", found.kaplan_yorke().expect("both"), 1.258, 0.02);
    assert_eq!(lyapunov(&trajectory, 1, 100)?.kaplan_yorke(), None, "one is too few");
    Ok(())
}

#[test]
fn both_derivatives_and_the_temporal_jacobian_agree() -> Result<()> {
    let (layer, xs) = (layer(&LstmConfig::default(), 2, 4)?, sequences(1, 120, 2)?);
    let auto = Trajectory::new(&layer, &xs, None)?;
    let found = lyapunov(&auto, 8, 20)?;
    let closed = Trajectory::new(&layer, &xs, None)?.with_derivative(Derivative::ClosedForm);
    for (a, b) in found.exponents.iter().zip(lyapunov(&closed, 8, 20)?.exponents) {
        is("closed form", *a, b, 1e-10);
    }
    // Rates of the singular values over 100 steps differ from the exponents by a constant over 100.
    let values = temporal_jacobian_of_example(&auto, 0, 120, &[100])?[0];
    let per_step = std::f64::consts::LN_10 / 100.0;
    is("largest", found.largest(), values.largest.log10 * per_step, 0.03);
    let condition = values.condition.expect("resolved").log10 * per_step;
    is("condition", found.condition_rate().expect("all"), condition, 0.06);
    Ok(())
}

#[test]
fn directions_that_are_lost_have_minus_infinity() -> Result<()> {
    let layer = Linear::layer(&[vec![0.5, 0.0], vec![0.0, 0.0]])?;
    let trajectory = Trajectory::new(&layer, &silence(1, 20)?, None)?;
    let found = lyapunov(&trajectory, 2, 2)?;
    is("first", found.largest(), 0.5f64.ln(), 1e-12);
    assert_eq!(found.exponents[1], f64::NEG_INFINITY);
    assert_eq!(found.kaplan_yorke(), Some(0.0));
    expect_error(
        "count",
        lyapunov(&trajectory, 3, 2),
        "lyapunov, count: expected from 1 to 2, got 3",
    )?;
    expect_error(
        "warm-up",
        lyapunov(&trajectory, 2, 20),
        "lyapunov, warm-up: expected less than the 20 steps, got 20",
    )
}
