//! The state of a layer as one vector.

use candle_core::{bail, Result, Tensor};
use recurrent_core::Carry;
use serde::Serialize;

/// The place of one field of one layer's state in the state vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateSlice {
    /// The layer of the carry: 0 for the first, which is the bottom of a stack.
    pub layer: usize,
    /// The field: `h`, `c`.
    pub field: &'static str,
    /// Its first index in the vector.
    pub start: usize,
    /// Its number of values.
    pub size: usize,
}

/// The slices of the state vector of `carry`: all fields of all its layers, in order.
///
/// # Errors
/// If a field does not have two axes.
pub fn pieces(carry: &Carry) -> Result<Vec<StateSlice>> {
    let mut start = 0;
    let piece = |(layer, field, tensor): (usize, &'static str, &Tensor)| {
        let (_, size) = tensor.dims2()?;
        start += size;
        Ok(StateSlice { layer, field, start: start - size, size })
    };
    leaves(carry).into_iter().map(piece).collect()
}

/// The state vector, `(batch, n)`: all fields of all layers of `carry`, side by side.
///
/// # Errors
/// If the fields differ in the number of examples.
pub fn flatten(carry: &Carry) -> Result<Tensor> {
    let fields: Vec<_> = leaves(carry).into_iter().map(|(_, _, tensor)| tensor).collect();
    match fields[..] {
        [one] => Ok(one.clone()),
        _ => Tensor::cat(&fields, 1),
    }
}

/// The carry with the layers and fields of `like` and the state vector `vector`, `(batch, n)`.
///
/// # Errors
/// If the number of columns of `vector` is not the number of values per example of `like`.
pub fn unflatten(vector: &Tensor, like: &Carry) -> Result<Carry> {
    let sizes: usize = pieces(like)?.iter().map(|piece| piece.size).sum();
    match vector.dims() {
        &[_, size] if size == sizes => {}
        dims => bail!("state vector: expected (batch, {sizes}), got {dims:?}"),
    }
    let mut start = 0;
    like.map(&mut |field| {
        let size = field.dim(1)?;
        start += size;
        vector.narrow(1, start - size, size)?.contiguous()
    })
}

/// All tensors of a carry, with the number of their layer and the name of their field.
fn leaves(carry: &Carry) -> Vec<(usize, &'static str, &Tensor)> {
    let numbered = carry.cells().into_iter().enumerate();
    numbered
        .flat_map(|(layer, fields)| fields.iter().map(move |(name, tensor)| (layer, *name, tensor)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_carry_goes_into_a_vector_and_comes_back() -> Result<()> {
        let field = |from: f64, size: usize| {
            Tensor::arange(from, from + 2.0 * size as f64, &Device::Cpu)?.reshape((2, size))
        };
        let memory = Carry::Cell(vec![("h", field(0.0, 3)?), ("c", field(10.0, 2)?)]);
        let carry = Carry::Layers(vec![
            memory,
            Carry::Layers(vec![Carry::Cell(vec![("h", field(20.0, 1)?)])]),
        ]);
        let vector = flatten(&carry)?;
        assert_eq!(
            vector.to_vec2::<f64>()?,
            [[0., 1., 2., 10., 11., 20.], [3., 4., 5., 12., 13., 21.]]
        );
        let found: Vec<_> =
            pieces(&carry)?.iter().map(|p| (p.layer, p.field, p.start, p.size)).collect();
        assert_eq!(found, [(0, "h", 0, 3), (0, "c", 3, 2), (1, "h", 5, 1)]);
        let again = unflatten(&vector, &carry)?;
        assert_eq!(again.layer(0)?.field("c")?.to_vec2::<f64>()?, [[10., 11.], [12., 13.]]);
        assert_eq!(flatten(&again)?.to_vec2::<f64>()?, vector.to_vec2::<f64>()?);
        let error = unflatten(&vector.narrow(1, 0, 4)?, &carry).expect_err("must fail").to_string();
        assert!(error.starts_with("state vector: expected (batch, 6), got [2, 4]"), "{error}");
        Ok(())
    }
}
