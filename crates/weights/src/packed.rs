//! cuDNN's weights, in one buffer.

use crate::{check, Tensors};
use candle_core::{bail, Result, Tensor};
use recurrent_core::{Direction, LayerId};
use serde::{Deserialize, Serialize};

/// The layout of recurrent layers in one flat buffer, as in cuDNN (without a projection), MXNet's
/// `RNN` and TensorFlow 1's `CudnnLSTM`:
///
/// ```text
/// for every layer, for every direction:        W_ih (gates * hidden, input)
///                                              W_hh (gates * hidden, hidden)
/// then again for every layer and direction:    b_ih (gates * hidden), b_hh (gates * hidden)
/// ```
///
/// Gates are in our order, i, f, g, o and r, z, n; matrices are stored row by row. Higher layers
/// have `directions * hidden` inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedWeights {
    /// The number of gates: 1, 3 or 4.
    pub gates: usize,
    /// The number of layers.
    pub layers: usize,
    /// The directions of every layer.
    pub direction: Direction,
    /// The number of features of the input.
    pub input: usize,
    /// The number of units, in each direction.
    pub hidden: usize,
    /// Whether there are biases.
    pub bias: bool,
}

impl PackedWeights {
    /// Our names and shapes, in the order of the buffer.
    fn parts(&self) -> Vec<(String, Vec<usize>)> {
        let reverses: &[bool] =
            if self.direction == Direction::Bidirectional { &[false, true] } else { &[false] };
        let place = |layer| reverses.iter().map(move |&reverse| LayerId { layer, reverse });
        let places: Vec<_> = (0..self.layers).flat_map(place).collect();
        let rows = self.gates * self.hidden;
        let matrices = places.iter().flat_map(|place| {
            let input = if place.layer == 0 { self.input } else { reverses.len() * self.hidden };
            let suffix = place.suffix();
            [
                (format!("weight_ih{suffix}"), vec![rows, input]),
                (format!("weight_hh{suffix}"), vec![rows, self.hidden]),
            ]
        });
        let biased = places.iter().filter(|_| self.bias);
        let biases = biased.flat_map(|place| {
            ["bias_ih", "bias_hh"].map(|base| (format!("{base}{}", place.suffix()), vec![rows]))
        });
        matrices.chain(biases).collect()
    }

    /// The weights of a buffer under our names.
    ///
    /// # Errors
    /// If the buffer has another number of values.
    pub fn unpack(&self, buffer: &Tensor) -> Result<Tensors> {
        let parts = self.parts();
        let count: usize = parts.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        if buffer.elem_count() != count {
            bail!("packed weights: expected {count} values for {self:?}, got {:?}", buffer.dims())
        }
        let flat = buffer.flatten_all()?;
        let mut start = 0;
        let cut = |(name, shape): (String, Vec<usize>)| {
            let length = shape.iter().product();
            let tensor = flat.narrow(0, start, length)?.reshape(shape)?.force_contiguous()?;
            start += length;
            Ok((name, tensor))
        };
        parts.into_iter().map(cut).collect()
    }

    /// The buffer, `(values)`, of weights under our names.
    ///
    /// # Errors
    /// A [`crate::Mismatch`], if the weights do not fit these layers.
    pub fn pack(&self, weights: &Tensors) -> Result<Tensor> {
        let parts = self.parts();
        check("packed weights", &parts, weights)?;
        Tensor::cat(
            &parts
                .iter()
                .map(|(name, _)| weights[name].flatten_all())
                .collect::<Result<Vec<_>>>()?,
            0,
        )
    }
}
