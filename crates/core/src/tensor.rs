//! Arithmetic that several families share.

use candle_core::{Result, Tensor, D};

/// x Wᵀ + b: `x` is `(batch, input)`, `weight` `(output, input)`, `bias` `(output)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

/// Cuts `(batch, N * hidden)` into `N` gates of `(batch, hidden)`.
///
/// # Errors
/// If the last axis cannot be cut into `N` equal parts.
pub fn chunk_gates<const N: usize>(z: &Tensor) -> Result<[Tensor; N]> {
    let hidden = z.dim(D::Minus1)? / N;
    if hidden * N != z.dim(D::Minus1)? {
        candle_core::bail!("gates: expected a multiple of {N}, got {:?}", z.dims())
    }
    let gates = (0..N)
        .map(|gate| z.narrow(D::Minus1, gate * hidden, hidden))
        .collect::<Result<Vec<_>>>()?;
    Ok(gates.try_into().expect("there are N gates"))
}

/// Layer normalisation without shift, over the last axis: gain · (z − mean) / √(variance + eps),
/// with the biased variance (Ba, Kiros and Hinton 2016, arXiv:1607.06450v1, eq. 4).
///
/// Differentiable, unlike `candle_nn::LayerNorm`, which cuts the graph.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(z: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = z.broadcast_sub(&z.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(gain)
}

/// Root mean square normalisation without shift, over the last axis: gain · z / √(mean of z² + eps)
/// (Zhang and Sennrich 2019, arXiv:1910.07467v1, eq. 4, with eps below the root as in
/// `torch.nn.RMSNorm`). Unlike [`layer_norm`] it does not centre.
///
/// Differentiable, unlike `candle_nn::RmsNorm` on contiguous input, which cuts the graph.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(z: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let size = (z.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    z.broadcast_div(&size)?.broadcast_mul(gain)
}

/// max(0, z), with the derivative 0 at 0 as in PyTorch. In candle's own it is 1 there, which
/// matters for units that are exactly 0.
///
/// # Errors
/// Those of candle.
pub fn relu(z: &Tensor) -> Result<Tensor> {
    z.gt(0.0)?.where_cond(z, &z.zeros_like()?)
}

/// σ′ as a function of the output `y`: y ∘ (1 − y).
///
/// # Errors
/// Those of candle.
pub fn sigmoid_slope(y: &Tensor) -> Result<Tensor> {
    y * y.affine(-1.0, 1.0)?
}

/// tanh′ as a function of the output `y`: 1 − y².
///
/// # Errors
/// Those of candle.
pub fn tanh_slope(y: &Tensor) -> Result<Tensor> {
    y.sqr()?.affine(-1.0, 1.0)
}
