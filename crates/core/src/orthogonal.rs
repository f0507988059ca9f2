//! The nearest orthogonal matrix, and the projection of variables onto it.

use candle_core::{bail, DType, Device, Result, Tensor, Var};

/// Each iteration grows small singular values by a factor of 1.5. So 80 iterations recover relative
/// values down to 1e-13 and leave rounding noise below that.
const STEPS: usize = 80;

/// The orthogonal matrix that is nearest to `matrix`, in the Frobenius norm and every other
/// unitarily invariant one (Fan and Hoffman 1955): the factor U of its polar decomposition A = U P,
/// which is V Wᵀ where V Σ Wᵀ is its singular value decomposition. It has orthonormal columns, or
/// rows if there are fewer rows. The result is in f64 on the CPU.
///
/// ```text
/// X_0 = A / √(‖A‖₁ ‖A‖∞)        X_{k+1} = X_k (3 I − X_kᵀ X_k) / 2
/// ```
///
/// (Björck and Bowie 1971, also called Newton and Schulz's.) The scale brings all singular values
/// to at most 1. The iteration then grows each of them to 1, with quadratic convergence at the end.
///
/// # Errors
/// If `matrix` does not have two axes, is not finite, or does not have full rank: then the nearest
/// matrix is not unique.
pub fn polar_factor(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = match *matrix.dims() {
        [rows, columns] if rows * columns > 0 => (rows, columns),
        _ => bail!("orthogonal: expected a matrix (rows, columns), got {:?}", matrix.dims()),
    };
    if rows < columns {
        return polar_factor(&matrix.t()?)?.t()?.contiguous();
    }
    let a = matrix.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.contiguous()?;
    let largest = |t: Tensor| t.flatten_all()?.max(0)?.to_scalar::<f64>();
    // Divided by its largest element first, so that the sums below do not overflow.
    let a = (&a / largest(a.abs()?)?)?;
    let mut x = (&a / (largest(a.abs()?.sum(0)?)? * largest(a.abs()?.sum(1)?)?).sqrt())?;
    let identity = Tensor::eye(columns, DType::F64, &Device::Cpu)?;
    for _ in 0..STEPS {
        let off = (&identity - x.t()?.matmul(&x)?)?; // I − XᵀX
        x = (&x + (x.matmul(&off)? * 0.5)?)?;
        // Convergence is quadratic: an error of 1e-8 is now one of rounding.
        if largest(off.abs()?)? < 1e-8 {
            return Ok(x);
        }
    }
    bail!(
        "orthogonal: expected a finite matrix of full rank, got one of ({rows}, {columns}) that \
        is not"
    )
}

/// Replaces the value of a variable by `gain` times the nearest orthogonal matrix. Called after
/// every training step, it keeps all singular values of a recurrent matrix at `gain`.
///
/// Do not call it between a forward pass and its backward pass: the graph shares the variable's
/// memory.
///
/// # Errors
/// As [`polar_factor`]; if `variable` is a plain tensor, or `gain` is not finite.
pub fn project_orthogonal(variable: &Tensor, gain: f64) -> Result<()> {
    if !variable.is_variable() {
        bail!("project_orthogonal: expected a variable, got a plain tensor {:?}", variable.dims())
    }
    if !gain.is_finite() {
        bail!("project_orthogonal gain: expected a finite number, got {gain}")
    }
    let nearest = (polar_factor(variable)? * gain)?;
    Var::from_tensor(variable)?
        .set(&nearest.to_dtype(variable.dtype())?.to_device(variable.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{orthogonal, tensor};
    use crate::named_rng;

    fn random(name: &str, rows: usize, columns: usize) -> Result<Tensor> {
        tensor(
            orthogonal(&mut named_rng(1, name), rows, columns),
            &[rows, columns],
            DType::F64,
            &Device::Cpu,
        )
    }

    fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
    }

    #[test]
    fn it_is_the_polar_factor_of_the_singular_value_decomposition() -> Result<()> {
        for (rows, columns) in [(5, 5), (7, 5), (5, 7)] {
            let (v, w) = (random("v", rows, 5)?, random("w", columns, 5)?);
            let v = if rows == 5 { v.contiguous()? } else { v };
            for (smallest, tolerance) in [(0.3, 1e-14), (1e-3, 1e-12), (1e-9, 1e-6)] {
                let sigma = Tensor::new(&[5.0, 2.0, 1.0, 0.7, smallest], &Device::Cpu)?;
                let a = v.broadcast_mul(&sigma)?.matmul(&w.t()?)?; // V Σ Wᵀ
                let found = polar_factor(&a)?;
                let error = distance(&found, &v.matmul(&w.t()?)?)?;
                assert!(error < tolerance, "({rows}, {columns}), σ = {smallest}: off by {error:e}");
                let again = distance(&polar_factor(&found)?, &found)?;
                assert!(again < 1e-14, "({rows}, {columns}): a second time moves it by {again:e}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_matrix_of_two_rows_by_hand() -> Result<()> {
        // The nearest rotation to [[a, b], [c, d]] with a positive determinant turns by atan2(c −
        // b, a + d).
        let a = Tensor::new(&[[1.0, -0.5], [3.0, 2.0]], &Device::Cpu)?;
        let (sin, cos) = 3.5f64.atan2(3.0).sin_cos();
        let expected = Tensor::new(&[[cos, -sin], [sin, cos]], &Device::Cpu)?;
        for scale in [1e-300, 1.0, 1e300] {
            assert!(distance(&polar_factor(&(&a * scale)?)?, &expected)? < 1e-15);
        }
        Ok(())
    }

    #[test]
    fn no_orthogonal_matrix_is_nearer() -> Result<()> {
        let a = (random("a", 6, 6)? + (random("b", 6, 6)? * 0.8)?)?;
        let norm = |t: Tensor| t.sqr()?.sum_all()?.to_scalar::<f64>();
        let nearest = polar_factor(&a)?;
        let least = norm((&a - &nearest)?)?;
        for turn in 0..20 {
            // A turn of the nearest one, small or large.
            let near = (Tensor::eye(6, DType::F64, &Device::Cpu)? * 2f64.powi(turn))?;
            let turned = polar_factor(&(near + random(&format!("turn {turn}"), 6, 6)?)?)?;
            let other = norm((&a - nearest.matmul(&turned)?)?)?;
            assert!(other > least, "turn {turn}: {other} from it, the nearest {least}");
        }
        Ok(())
    }

    #[test]
    fn a_variable_gets_the_gain_for_its_singular_values() -> Result<()> {
        let var = Var::from_tensor(&(random("a", 17, 17)? + (random("b", 17, 17)? * 0.9)?)?)?;
        project_orthogonal(var.as_tensor(), 1.3)?;
        let identity = (Tensor::eye(17, DType::F64, &Device::Cpu)? * 1.69)?;
        assert!(distance(&var.matmul(&var.t()?)?, &identity)? < 1e-14);
        let single = Var::from_tensor(&var.to_dtype(DType::F32)?)?;
        project_orthogonal(single.as_tensor(), 1.3)?;
        assert!(distance(&single.to_dtype(DType::F64)?, &var)? < 1e-7);
        Ok(())
    }

    #[test]
    fn matrices_without_a_nearest_one_are_refused() -> Result<()> {
        let ones = Tensor::ones((3, 3), DType::F64, &Device::Cpu)?;
        let (v, w) = (random("v", 5, 5)?.narrow(1, 0, 4)?, random("w", 5, 5)?.narrow(1, 0, 4)?);
        let rank_4 = v.contiguous()?.matmul(&w.t()?.contiguous()?)?;
        for (matrix, expected) in [
            (ones.clone(), "orthogonal: expected a finite matrix of full rank"),
            (rank_4, "orthogonal: expected a finite matrix of full rank"),
            (ones.zeros_like()?, "orthogonal: expected a finite matrix of full rank"),
            ((&ones * f64::NAN)?, "orthogonal: expected a finite matrix of full rank"),
            ((&ones * f64::INFINITY)?, "orthogonal: expected a finite matrix of full rank"),
            (ones.get(0)?, "orthogonal: expected a matrix (rows, columns), got [3]"),
        ] {
            let error = polar_factor(&matrix).expect_err("must fail").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = project_orthogonal(&ones, 1.0).expect_err("must fail").to_string();
        assert!(error.starts_with("project_orthogonal: expected a variable"), "{error}");
        let error = project_orthogonal(Var::from_tensor(&ones)?.as_tensor(), f64::NAN)
            .expect_err("must fail");
        assert!(
            error.to_string().starts_with("project_orthogonal gain: expected a finite number"),
            "{error}"
        );
        Ok(())
    }
}
