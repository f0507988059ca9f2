//! Spectra of recurrent blocks.

use super::cells::{layer, sheared, Linear};
use recurrent_lstm::LstmConfig;
use recurrent_measures::block_spectra;
use recurrent_testkit::Result;

#[test]
fn known_blocks() -> Result<()> {
    // [[3, 0], [4, 5]]: singular values √45 and √5, eigenvalues 3 and 5.
    let layer = Linear::layer(&[vec![3.0, 0.0], vec![4.0, 5.0]])?;
    let found = block_spectra(&layer)?.remove(0);
    for (found, expected) in [
        (found.radius, 5.0),
        (found.largest, 45f64.sqrt()),
        (found.smallest, 5f64.sqrt()),
        (found.condition, 3.0),
    ] {
        assert!((found - expected).abs() <= 1e-6 * expected, "{found}, expected {expected}");
    }
    assert!(!found.vanishes(1.0) && found.vanishes(0.1));
    let radius = block_spectra(&Linear::layer(&sheared())?)?[0].radius;
    assert!((radius - 0.9).abs() <= 1e-6, "{radius}: that of the complex pair");
    Ok(())
}

#[test]
fn the_condition_is_sufficient_and_not_necessary() -> Result<()> {
    // Radius 0.5, but σ_max above 1: gradients vanish, and the condition cannot tell.
    let found = block_spectra(&Linear::layer(&[vec![0.5, 2.0], vec![0.0, 0.5]])?)?.remove(0);
    assert!(found.radius < 0.51 && !found.vanishes(1.0));
    let small = block_spectra(&Linear::layer(&[vec![0.5, 0.2], vec![0.0, 0.5]])?)?.remove(0);
    assert!(small.vanishes(1.0) && !small.vanishes(2.0));
    Ok(())
}

#[test]
fn every_gate_has_its_own_spectrum() -> Result<()> {
    let found = block_spectra(&layer(&LstmConfig::default(), 2, 4)?)?;
    let names: Vec<_> = found.iter().map(|block| block.name.as_str()).collect();
    assert_eq!(names, ["weight_hh_l0.i", "weight_hh_l0.f", "weight_hh_l0.g", "weight_hh_l0.o"]);
    assert!(found.iter().all(
        |block| block.smallest <= block.radius && block.radius <= block.largest * (1.0 + 1e-6)
    ));
    Ok(())
}
