//! Memory capacity of known systems.

use super::cells::{Elman, Linear};
use candle_core::{Device, Tensor};
use rand::Rng;
use recurrent_core::{named_rng, Carry, ForwardContext, Layer, Sequence};
use recurrent_measures::{memory_capacity, CapacityConfig, InputDrive};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::Result;

fn settings(delays: usize) -> CapacityConfig {
    CapacityConfig { delays, washout: 200, fit: 3000, test: 3000, ..CapacityConfig::default() }
}

/// h_1' = x and h_{i+1}' = h_i; the last is fed back to the first by the factor `back`.
fn ring(n: usize, back: f64) -> Vec<Vec<f64>> {
    let entry = |i: usize, j: usize| match (i, j) {
        (0, last) if last + 1 == n => back,
        (i, j) if i == j + 1 => 1.0,
        _ => 0.0,
    };
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

#[test]
fn a_delay_line_holds_as_many_inputs_as_it_has_units() -> Result<()> {
    let found = memory_capacity(&Linear::layer(&ring(12, 0.0))?, &settings(40))?;
    assert!((found.with_current() - 12.0).abs() <= 0.05, "{}", found.with_current());
    assert!(
        (found.total() - 11.0).abs() <= 0.05,
        "{}: without the input of the step itself",
        found.total()
    );
    for (delay, capacity) in found.curve.iter().enumerate() {
        let expected = if delay < 12 { 1.0 } else { 0.0 };
        assert!((capacity - expected).abs() <= 0.02, "{delay}: {capacity}");
    }
    Ok(())
}

#[test]
fn a_ring_has_its_known_curve() -> Result<()> {
    // With an echo of each unit after N steps, of gain r: h_i holds Σ_j r^j u_{t-i-jN}, so
    // MC_{i+jN} = r^2j (1 - r²), N in all.
    let (n, r) = (8, 0.7f64);
    let found = memory_capacity(&Linear::layer(&ring(n, r))?, &settings(80))?;
    for (delay, capacity) in found.curve.iter().enumerate() {
        let expected = r.powi(2 * (delay / n) as i32) * (1.0 - r * r);
        assert!((capacity - expected).abs() <= 0.04, "{delay}: {capacity}, expected {expected}");
    }
    assert!((found.with_current() - 8.0).abs() <= 0.3, "{}", found.with_current());
    Ok(())
}

#[test]
fn a_random_network_keeps_the_bound() -> Result<()> {
    let layer = Elman::layer(1, 20, 0.9)?;
    let found = memory_capacity(&layer, &settings(100))?;
    assert!(found.with_current() <= 20.0 && found.total() > 2.0, "{} of 20", found.total());
    assert!(found.curve[1] > 0.5 && found.curve[100].abs() < 0.02, "{:?}", found.curve);
    assert!(found.floor < 0.01, "{}", found.floor);
    assert_eq!(memory_capacity(&layer, &settings(100))?, found, "the same at every call");
    Ok(())
}

/// Outputs that do not depend on the input.
struct Deaf;

impl Layer for Deaf {
    fn input_size(&self) -> usize {
        3
    }

    fn output_size(&self) -> usize {
        10
    }

    fn run(
        &self,
        xs: &Sequence,
        _: Option<&Carry>,
        _: &ForwardContext,
    ) -> candle_core::Result<(Sequence, Carry)> {
        let (batch, time, _) = xs.values().dims3()?;
        let mut rng = named_rng(5, "deaf");
        let noise = (0..batch * time * 10).map(|_| rng.random_range(-1f32..1.0));
        let ys = Tensor::from_iter(noise, &Device::Cpu)?.reshape((batch, time, 10))?;
        Ok((xs.with_values(ys)?, Carry::Cell(Vec::new())))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }
}

#[test]
fn a_layer_that_ignores_its_input_has_no_capacity() -> Result<()> {
    for drive in [InputDrive::First, InputDrive::All] {
        let found = memory_capacity(&Deaf, &CapacityConfig { drive, ..settings(100) })?;
        assert!(found.total().abs() <= 0.02, "{}", found.total());
    }
    let few = CapacityConfig { fit: 10, ..settings(5) };
    expect_error(
        "few",
        memory_capacity(&Deaf, &few),
        "memory capacity, steps: expected more than 10 to fit",
    )
}
