//! Arithmetic that several families share.

use candle_core::{Result, Tensor};

/// x Wᵀ + b: `x` is `(batch, input)`, `weight` `(output, input)`, `bias` `(output)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

/// max(0, z), with the derivative 0 at 0 as in PyTorch. In candle's own it is 1 there, which
/// matters for units that are exactly 0. NaN stays NaN.
///
/// # Errors
/// Those of candle.
pub fn relu(z: &Tensor) -> Result<Tensor> {
    z.le(0.0)?.where_cond(&z.zeros_like()?, z)
}

/// tanh′ as a function of the output `y`: 1 − y².
///
/// # Errors
/// Those of candle.
pub fn tanh_slope(y: &Tensor) -> Result<Tensor> {
    y.sqr()?.affine(-1.0, 1.0)
}
