//! The temporal Jacobian.

use super::cells::{differences, layer, sequences, sheared, silence, Linear};
use candle_core::{DType, Tensor};
use nalgebra::DMatrix;
use recurrent_core::{Nonlinearity, Rnn, Sequence};
use recurrent_lstm::LstmConfig;
use recurrent_measures::{temporal_jacobian, temporal_jacobian_of_example, Trajectory};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::Result;
use recurrent_vanilla::VanillaConfig;

fn is(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn singular_values_are_those_of_finite_differences_through_the_whole_window() -> Result<()> {
    let (layer, xs) = (layer(&LstmConfig::default(), 2, 3)?, sequences(2, 8, 2)?);
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    let found = temporal_jacobian_of_example(&trajectory, 1, 7, &[1, 2, 4])?;
    for (values, start) in found.iter().zip([6, 5, 3]) {
        let state =
            trajectory.states()[start].map(&mut |field| field.narrow(0, 1, 1)?.contiguous())?;
        let window = xs.values().narrow(0, 1, 1)?.narrow(1, start, 7 - start)?;
        let rows = differences(&layer, &window, &state)?;
        let singular = DMatrix::from_row_slice(6, 6, &rows.concat()).singular_values();
        let smallest = values.smallest.expect("resolved");
        is("largest", values.largest.value / singular.max(), 1.0, 1e-8);
        if values.lag < 4 {
            // At larger lags, differences do not resolve it.
            is("smallest", smallest.value / singular.min(), 1.0, 1e-3);
        }
        is("square", values.mean_square.value / (singular.norm_squared() / 6.0), 1.0, 1e-8);
        is("per step", values.log10_per_step, singular.max().log10() / (7 - start) as f64, 1e-8);
        let condition = values.condition.expect("resolved");
        is("condition", condition.log10, values.largest.log10 - smallest.log10, 1e-12);
    }
    Ok(())
}

#[test]
fn products_far_outside_of_the_range_of_f64_are_exact() -> Result<()> {
    // diag(10, 1, 0.1) turned by a rotation of the first and the last axis: symmetric, singular
    // values to the k-th power.
    let (c, s) = (0.6, 0.8);
    let rotated = vec![
        vec![10.0 * c * c + 0.1 * s * s, 0.0, (10.0 - 0.1) * c * s],
        vec![0.0, 1.0, 0.0],
        vec![(10.0 - 0.1) * c * s, 0.0, 10.0 * s * s + 0.1 * c * c],
    ];
    let layer = Linear::layer(&rotated)?;
    let trajectory = Trajectory::new(&layer, &silence(1, 400)?, None)?;
    for values in temporal_jacobian(&trajectory, 400, &[1, 5, 100, 400])? {
        let k = values.lag as f64;
        let (smallest, condition) =
            (values.smallest.expect("resolved"), values.condition.expect("resolved"));
        is("largest", values.largest.log10, k, 1e-10);
        is("smallest", smallest.log10, -k, 1e-10);
        is("condition", condition.log10, 2.0 * k, 1e-10);
        let square = 2.0 * k + ((1.0 + 10f64.powf(-2.0 * k) + 10f64.powf(-4.0 * k)) / 3.0).log10();
        is("square", values.mean_square.log10, square, 1e-10);
        is("per step", values.log10_per_step, 1.0, 1e-12);
        assert_eq!(values.within_f64, values.lag <= 5, "at lag {}", values.lag);
        assert_eq!(values.largest.value.is_infinite(), values.lag == 400);
        assert_eq!(smallest.value == 0.0, values.lag == 400);
    }
    Ok(())
}

#[test]
fn the_smallest_of_a_network_far_from_normal_is_that_of_its_own_inverse() -> Result<()> {
    // 60 steps of A: the independent reference is the k-th power of A⁻¹ by nalgebra, which stays in
    // range here.
    let rows = sheared();
    let layer = Linear::layer(&rows)?;
    let trajectory = Trajectory::new(&layer, &silence(1, 60)?, None)?;
    let values = temporal_jacobian(&trajectory, 60, &[60])?[0];
    let a = DMatrix::from_row_slice(4, 4, &rows.concat());
    let power = a.clone().try_inverse().expect("moduli are not 0").pow(60);
    is(
        "smallest",
        values.smallest.expect("resolved").log10,
        -power.singular_values().max().log10(),
        1e-9,
    );
    is("largest", values.largest.log10, a.pow(60).singular_values().max().log10(), 1e-9);
    Ok(())
}

#[test]
fn lost_directions_are_not_resolved() -> Result<()> {
    let relu = VanillaConfig { nonlinearity: Nonlinearity::Relu, ..VanillaConfig::default() };
    let (layer, xs) = (layer(&relu, 2, 12)?, sequences(3, 6, 2)?);
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    for values in temporal_jacobian(&trajectory, 6, &[1, 6])? {
        assert_eq!((values.smallest, values.condition, values.within_f64), (None, None, false));
        assert!(values.largest.value > 0.0);
    }
    Ok(())
}

#[test]
fn values_below_single_precision_are_not_resolved_there() -> Result<()> {
    let double = Linear::layer(&[vec![1.0, 0.0], vec![0.0, 1e-8]])?;
    let single = |tensor: &Tensor| tensor.detach().to_dtype(DType::F32);
    let cell = Linear { a: single(&double.cell().a)?, b: single(&double.cell().b)? };
    let xs = silence(1, 2)?;
    let in_single = Sequence::new(single(xs.values())?)?;
    let found = temporal_jacobian(&Trajectory::new(&double, &xs, None)?, 2, &[2])?[0];
    is("in double precision", found.smallest.expect("resolved").log10, -16.0, 1e-10);
    let single = Rnn::from_cell(cell);
    let found = temporal_jacobian(&Trajectory::new(&single, &in_single, None)?, 2, &[2])?[0];
    assert_eq!((found.smallest, found.largest.value), (None, 1.0));
    Ok(())
}

#[test]
fn the_median_is_over_examples() -> Result<()> {
    let (layer, xs) = (layer(&LstmConfig::default(), 2, 3)?, sequences(3, 5, 2)?);
    let trajectory = Trajectory::new(&layer, &xs, None)?;
    let own = |example| {
        Ok::<_, candle_core::Error>(temporal_jacobian_of_example(&trajectory, example, 5, &[5])?[0])
    };
    let mut each = [own(0)?.largest.log10, own(1)?.largest.log10, own(2)?.largest.log10];
    each.sort_by(f64::total_cmp);
    assert_eq!(temporal_jacobian(&trajectory, 5, &[5])?[0].largest.log10, each[1]);
    Ok(())
}

#[test]
fn lags_that_do_not_exist_are_refused() -> Result<()> {
    let layer = Linear::layer(&[vec![0.5]])?;
    let trajectory = Trajectory::new(&layer, &silence(1, 4)?, None)?;
    for lags in [&[0, 1][..], &[2, 2], &[4]] {
        let found = temporal_jacobian(&trajectory, 3, lags);
        expect_error(
            "lags",
            found,
            "temporal jacobian, lags: expected ascending numbers from 1 to 3, got [",
        )?;
    }
    expect_error(
        "end",
        temporal_jacobian(&trajectory, 5, &[1]),
        "temporal jacobian, end: expected at most 4 steps, got 5",
    )
}
