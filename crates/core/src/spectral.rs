//! The spectral radius of a recurrent block.

use candle_core::{bail, DType, Result, Tensor};

/// How often the matrix is squared: the bound is then the 2^30th root of a norm.
const SQUARINGS: i32 = 30;

/// The largest absolute value of an eigenvalue of a square matrix, by Gelfand's formula ρ(A) = lim
/// ‖A^k‖^(1/k) with k = 2^30, in f64 with the norm divided out after every squaring.
///
/// Exact to about 1e-7 relative, also for complex and defective spectra, on which power iteration
/// does not settle.
///
/// # Errors
/// If `matrix` is not square.
pub fn spectral_radius(matrix: &Tensor) -> Result<f64> {
    match matrix.dims() {
        [rows, columns] if rows == columns && *rows > 0 => {}
        dims => bail!("spectral radius: expected a square matrix, got {dims:?}"),
    }
    let mut power =
        matrix.detach().to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F64)?.contiguous()?;
    let mut log = 0.0; // the sum of ln(norm) / 2^i over the squarings i
    for squaring in 0..=SQUARINGS {
        let norm = power.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?;
        if norm == 0.0 || !norm.is_finite() {
            return Ok(norm);
        }
        log += norm.ln() / 2f64.powi(squaring);
        power = (power / norm)?;
        power = power.matmul(&power)?;
    }
    Ok(log.exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn known_spectra() -> Result<()> {
        let radius = |rows: &[[f64; 2]; 2]| spectral_radius(&Tensor::new(rows, &Device::Cpu)?);
        for (rows, expected) in [
            ([[0.5, 0.0], [0.0, -0.9]], 0.9),
            ([[0.0, -2.0], [2.0, 0.0]], 2.0),  // eigenvalues ±2i
            ([[0.7, 100.0], [0.0, 0.7]], 0.7), // defective, and far from normal
            ([[0.0, 1.0], [0.0, 0.0]], 0.0),   // nilpotent
            ([[1e-200, 0.0], [0.0, 1e-201]], 1e-200),
        ] {
            let found = radius(&rows)?;
            assert!(
                (found - expected).abs() <= 1e-6 * expected,
                "{rows:?}: {found}, expected {expected}"
            );
        }
        assert!(spectral_radius(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?).is_err());
        Ok(())
    }
}
