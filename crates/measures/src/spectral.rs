//! Spectra of the recurrent blocks, independent of the inputs.

use candle_core::{DType, Device, Result, Tensor};
use nalgebra::DMatrix;
use recurrent_core::{spectral_radius, Layer};
use serde::{Deserialize, Serialize};

/// The spectrum of one recurrent block W, which multiplies the previous output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockSpectrum {
    /// Its name, `weight_hh_l0.f`.
    pub name: String,
    /// The spectral radius ρ(W), the largest absolute value of an eigenvalue.
    pub radius: f64,
    /// The largest singular value.
    pub largest: f64,
    /// The smallest singular value, exact to about n ε of the largest.
    pub smallest: f64,
    /// The condition number, largest / smallest; infinite for a singular block.
    pub condition: f64,
}

/// The spectra of all recurrent blocks of `layer`, by name, in the order of
/// [`Layer::recurrent_blocks`]; empty for a layer without such blocks.
///
/// # Errors
/// If a block is not square or not finite.
pub fn block_spectra(layer: &dyn Layer) -> Result<Vec<BlockSpectrum>> {
    layer
        .recurrent_blocks()?
        .into_iter()
        .map(|(name, block)| BlockSpectrum::new(name, &block))
        .collect()
}

impl BlockSpectrum {
    /// The spectrum of `block`, a square matrix.
    ///
    /// # Errors
    /// If it is not square or not finite.
    pub fn new(name: String, block: &Tensor) -> Result<Self> {
        let radius = spectral_radius(block)?;
        let block = block.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let (rows, columns) = block.dims2()?;
        let values = block.flatten_all()?.to_vec1::<f64>()?;
        if values.iter().any(|value| !value.is_finite()) {
            candle_core::bail!("recurrent block {name}: expected finite numbers, got others")
        }
        let singular = DMatrix::from_row_slice(rows, columns, &values).singular_values();
        let (largest, smallest) = (singular.max(), singular.min());
        Ok(Self { name, radius, largest, smallest, condition: largest / smallest })
    }

    /// Whether gradients must vanish: σ_max < 1/γ, with γ the largest slope of the nonlinearity, 1
    /// for tanh and ReLU, 1/4 for the logistic function.
    ///
    /// Sufficient and not necessary, and a statement about h' = φ(W h + …) alone, where ‖J_t‖ <= γ
    /// σ_max < 1 at every step (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063v2, section 2.1,
    /// who write γ for the bound of |φ'|). It says nothing about gated or residual networks, nor
    /// about those with layer norm, whose blocks have the same names. Use it for vanilla networks
    /// only.
    pub fn vanishes(&self, slope: f64) -> bool {
        self.largest * slope < 1.0
    }
}
