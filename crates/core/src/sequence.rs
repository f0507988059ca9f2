//! Batches of sequences, with per-example lengths where they differ.

use candle_core::{bail, DType, Device, Result, Tensor, D};
use std::sync::Arc;

/// A batch of sequences: values `(batch, time, feature)`, and the length of each example if they
/// differ.
///
/// The values in the padding change neither outputs nor gradients.
#[derive(Clone, Debug)]
pub struct Sequence {
    values: Tensor,
    lengths: Option<Lengths>,
}

/// The length of each example: from 1 to the number of steps of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths(Arc<[usize]>);

impl Lengths {
    /// The lengths as a slice, one for each example.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

/// The reduction of outputs over time to one output for each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The output of the last real step.
    Last,
    /// The mean over the real steps.
    Mean,
    /// The maximum over the real steps, feature by feature.
    Max,
}

impl Sequence {
    /// Sequences that all have the length of the batch; `values` is `(batch, time, feature)`.
    ///
    /// # Errors
    /// If `values` does not have three axes, or one of them is empty.
    pub fn new(values: Tensor) -> Result<Self> {
        match values.dims() {
            [batch, time, feature] if batch * time * feature > 0 => {
                Ok(Self { values, lengths: None })
            }
            dims => {
                bail!("sequence: expected (batch, time, feature), none of them 0, got {dims:?}")
            }
        }
    }

    /// Sequences of unequal lengths, padded at the end.
    ///
    /// # Errors
    /// As [`Sequence::new`]; if there is not one length for each example, or a length is 0 or
    /// larger than the number of steps.
    pub fn padded(values: Tensor, lengths: &[usize]) -> Result<Self> {
        let sequence = Self::new(values)?;
        let (batch, time, _) = sequence.values.dims3()?;
        if lengths.len() != batch {
            bail!("sequence lengths: expected {batch}, one an example, got {}", lengths.len())
        }
        if let Some(length) = lengths.iter().find(|length| !(1..=time).contains(*length)) {
            bail!("sequence lengths: expected each from 1 to {time}, got {length}")
        }
        Ok(Self { lengths: Some(Lengths(lengths.into())), ..sequence })
    }

    /// One batch of single sequences `(time, feature)` of unequal lengths, padded with zeros.
    ///
    /// # Errors
    /// If there is no sequence, one does not have two axes or is empty, or their numbers of
    /// features differ.
    pub fn collate(examples: &[Tensor]) -> Result<Self> {
        let Some(first) = examples.first() else {
            bail!("collate: expected at least one sequence, got none")
        };
        let feature = first.dim(D::Minus1)?;
        let mut lengths = Vec::with_capacity(examples.len());
        for (index, example) in examples.iter().enumerate() {
            match example.dims() {
                &[time, found] if found == feature && time > 0 => lengths.push(time),
                dims => {
                    bail!(
                        "collate: expected (time, {feature}) of at least 1 step, got {dims:?} at \
                         {index}"
                    )
                }
            }
        }
        let time = lengths.iter().copied().max().expect("there is at least one sequence");
        let pad =
            |(example, length): (&Tensor, &usize)| example.pad_with_zeros(0, 0, time - length);
        let rows: Vec<_> = examples.iter().zip(&lengths).map(pad).collect::<Result<_>>()?;
        Self::padded(Tensor::stack(&rows, 0)?, &lengths)
    }

    /// The values, `(batch, time, feature)`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The values, `(batch, time, feature)`, without the lengths.
    pub fn into_values(self) -> Tensor {
        self.values
    }

    /// The length of each example, if they differ.
    pub fn lengths(&self) -> Option<&Lengths> {
        self.lengths.as_ref()
    }

    /// Other values over the same steps, such as a layer's outputs.
    ///
    /// # Errors
    /// If the number of examples or of steps differs.
    pub fn with_values(&self, values: Tensor) -> Result<Self> {
        let (batch, time, _) = self.values.dims3()?;
        match values.dims() {
            &[b, t, _] if (b, t) == (batch, time) => {
                Ok(Self { values, lengths: self.lengths.clone() })
            }
            dims => bail!("sequence values: expected ({batch}, {time}, feature), got {dims:?}"),
        }
    }

    /// `(batch, time, 1)`: one at the steps of an example, zero in the padding.
    ///
    /// # Errors
    /// Those of candle.
    pub fn mask(&self, dtype: DType) -> Result<Tensor> {
        let (batch, time, _) = self.values.dims3()?;
        self.lengths().map_or_else(
            || Tensor::ones((batch, time, 1), dtype, self.values.device()),
            |lengths| mask(lengths.as_slice(), time, self.values.device())?.to_dtype(dtype),
        )
    }

    /// The same sequence with zeros in the padding; no gradient flows into the padding.
    ///
    /// # Errors
    /// Those of candle.
    pub fn zero_padding(&self) -> Result<Self> {
        let Some(lengths) = self.lengths() else { return Ok(self.clone()) };
        let mask = mask(lengths.as_slice(), self.values.dim(1)?, self.values.device())?;
        let values = select(&mask, &self.values, &self.values.zeros_like()?)?;
        Ok(Self { values, ..self.clone() })
    }

    /// The last output of a layer, `(batch, feature)`: at each example's last step, and at its
    /// first step for the last `reversed` features, which come from a reversed direction; see
    /// [`crate::Layer::reversed_size`].
    ///
    /// # Errors
    /// If there are fewer features.
    pub fn ends(&self, reversed: usize) -> Result<Tensor> {
        let last = self.pool(Pool::Last)?;
        let feature = last.dim(D::Minus1)?;
        let Some(ahead) = feature.checked_sub(reversed) else {
            bail!("sequence ends: expected at least {reversed} features, got {feature}")
        };
        if reversed == 0 {
            return Ok(last);
        }
        let first = self.values.narrow(1, 0, 1)?.squeeze(1)?.narrow(1, ahead, reversed)?;
        match ahead {
            0 => Ok(first),
            _ => Tensor::cat(&[last.narrow(1, 0, ahead)?, first], 1),
        }
    }

    /// One output for each example, `(batch, feature)`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn pool(&self, pool: Pool) -> Result<Tensor> {
        let (batch, time, feature) = self.values.dims3()?;
        match (pool, self.lengths()) {
            (Pool::Last, None) => self.values.narrow(1, time - 1, 1)?.squeeze(1),
            (Pool::Last, Some(lengths)) => {
                let last = |(row, length): (usize, &usize)| (row * time + length - 1) as u32;
                let rows: Vec<_> = lengths.as_slice().iter().enumerate().map(last).collect();
                let rows = Tensor::from_vec(rows, batch, self.values.device())?;
                self.values.reshape((batch * time, feature))?.index_select(&rows, 0)
            }
            (Pool::Mean, None) => self.values.mean(1),
            (Pool::Mean, Some(lengths)) => {
                let counts: Vec<_> =
                    lengths.as_slice().iter().map(|&length| length as f64).collect();
                let counts = Tensor::from_vec(counts, (batch, 1), self.values.device())?;
                let sums = self.zero_padding()?.values.sum(1)?;
                sums.broadcast_div(&counts.to_dtype(sums.dtype())?)
            }
            (Pool::Max, None) => self.values.max(1),
            (Pool::Max, Some(lengths)) => {
                let mask = mask(lengths.as_slice(), time, self.values.device())?;
                let low = (self.values.ones_like()? * f64::NEG_INFINITY)?;
                select(&mask, &self.values, &low)?.max(1)
            }
        }
    }
}

/// `(batch, time, 1)` of u8: one at the steps of an example.
pub(crate) fn mask(lengths: &[usize], time: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<u8> =
        lengths.iter().flat_map(|&len| (0..time).map(move |t| u8::from(t < len))).collect();
    Tensor::from_vec(mask, (lengths.len(), time, 1), device)
}

/// `on` where `mask` is one and `off` elsewhere; `mask` is broadcast over the last axis.
pub(crate) fn select(mask: &Tensor, on: &Tensor, off: &Tensor) -> Result<Tensor> {
    mask.broadcast_as(on.shape())?.contiguous()?.where_cond(on, off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ragged() -> Result<Sequence> {
        let row = |from: f64, time: usize| {
            (Tensor::arange(0., time as f64 * 2., &Device::Cpu)? + from)?.reshape((time, 2))
        };
        Sequence::collate(&[row(1., 1)?, row(10., 3)?])
    }

    #[test]
    fn collate_pads_with_zeros() -> Result<()> {
        let expected = [[[1., 2.], [0., 0.], [0., 0.]], [[10., 11.], [12., 13.], [14., 15.]]];
        assert_eq!(ragged()?.values().to_vec3::<f64>()?, expected);
        assert_eq!(ragged()?.lengths().map(|l| l.as_slice().to_vec()), Some(vec![1, 3]));
        Ok(())
    }

    #[test]
    fn pooling_sees_no_padding() -> Result<()> {
        let ragged = ragged()?;
        let garbage = (ragged.values()
            + ragged.mask(DType::F64)?.affine(-1e9, 1e9)?.broadcast_as((2, 3, 2))?)?;
        let ragged = ragged.with_values(garbage)?;
        assert_eq!(ragged.pool(Pool::Last)?.to_vec2::<f64>()?, [[1., 2.], [14., 15.]]);
        assert_eq!(ragged.pool(Pool::Mean)?.to_vec2::<f64>()?, [[1., 2.], [12., 13.]]);
        assert_eq!(ragged.pool(Pool::Max)?.to_vec2::<f64>()?, [[1., 2.], [14., 15.]]);
        let full = Sequence::new(ragged.values().narrow(0, 1, 1)?)?;
        assert_eq!(full.pool(Pool::Last)?.to_vec2::<f64>()?, [[14., 15.]]);
        assert_eq!(full.pool(Pool::Mean)?.to_vec2::<f64>()?, [[12., 13.]]);
        assert_eq!(full.pool(Pool::Max)?.to_vec2::<f64>()?, [[14., 15.]]);
        Ok(())
    }

    #[test]
    fn a_reversed_direction_ends_at_the_first_step() -> Result<()> {
        let ragged = ragged()?;
        assert_eq!(ragged.ends(0)?.to_vec2::<f64>()?, [[1., 2.], [14., 15.]]);
        assert_eq!(ragged.ends(1)?.to_vec2::<f64>()?, [[1., 2.], [14., 11.]]);
        assert_eq!(ragged.ends(2)?.to_vec2::<f64>()?, [[1., 2.], [10., 11.]]);
        let error = ragged.ends(3).expect_err("must fail").to_string();
        assert!(error.starts_with("sequence ends: expected at least 3 features, got 2"), "{error}");
        Ok(())
    }

    #[test]
    fn wrong_lengths_are_named() -> Result<()> {
        let values = Tensor::zeros((2, 3, 1), DType::F32, &Device::Cpu)?;
        for (lengths, expected) in [
            (vec![3], "sequence lengths: expected 2, one an example, got 1"),
            (vec![0, 1], "sequence lengths: expected each from 1 to 3, got 0"),
            (vec![1, 4], "sequence lengths: expected each from 1 to 3, got 4"),
        ] {
            let error =
                Sequence::padded(values.clone(), &lengths).expect_err("must fail").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        Ok(())
    }
}
