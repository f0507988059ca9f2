//! Losses over sequences of unequal lengths, without the padding.

use crate::Sequence;
use candle_core::{bail, Result, Tensor, D};

/// The mean of a loss per step, `(batch, time)`, over the real steps of `steps`.
///
/// # Errors
/// If the shapes do not fit.
pub fn masked_mean(losses: &Tensor, steps: &Sequence) -> Result<Tensor> {
    let (batch, time, _) = steps.values().dims3()?;
    if losses.dims() != [batch, time] {
        bail!("loss: expected (batch, time) = ({batch}, {time}), got {:?}", losses.dims())
    }
    let real = steps.with_values(losses.unsqueeze(D::Minus1)?)?.zero_padding()?;
    let count = steps.lengths().map_or(batch * time, |lengths| lengths.as_slice().iter().sum());
    real.values().sum_all()? / count as f64
}

/// Mean squared error per step, averaged over features and real steps; `targets` has the shape of
/// the values of `ys`.
///
/// # Errors
/// If the shapes do not fit.
pub fn mse(ys: &Sequence, targets: &Tensor) -> Result<Tensor> {
    // Zero the padding first: it may hold infinity, and infinity times zero is not zero.
    let ys = ys.zero_padding()?;
    let targets = ys.with_values(targets.clone())?.zero_padding()?;
    masked_mean(&(ys.values() - targets.values())?.sqr()?.mean(D::Minus1)?, &ys)
}

/// Cross entropy per step in nats, averaged over real steps: logits are the values of `ys`,
/// `(batch, time, classes)`, `targets` classes `(batch, time)` in u32.
///
/// # Errors
/// If the shapes do not fit, or a class in a real step does not exist.
pub fn cross_entropy(ys: &Sequence, targets: &Tensor) -> Result<Tensor> {
    let ys = ys.zero_padding()?;
    let targets = ys.with_values(targets.unsqueeze(D::Minus1)?)?.zero_padding()?;
    let log_p = candle_nn::ops::log_softmax(ys.values(), D::Minus1)?;
    masked_mean(
        &log_p.gather(&targets.values().contiguous()?, D::Minus1)?.squeeze(D::Minus1)?.neg()?,
        &ys,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn padding_is_not_counted() -> Result<()> {
        let values = Var::new(&[[[1f64], [f64::INFINITY]], [[2.], [3.]]], &Device::Cpu)?;
        let ys = Sequence::padded(values.as_tensor().clone(), &[1, 2])?;
        let targets = Tensor::new(&[[[0f64], [f64::NAN]], [[0.], [0.]]], &Device::Cpu)?;
        let loss = mse(&ys, &targets)?;
        assert!((loss.to_scalar::<f64>()? - 14. / 3.).abs() < 1e-14);
        let grads = loss.backward()?;
        let grad = grads.get(&values).expect("tracked").flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(grad[1], 0.0);
        assert!((grad[3] - 2.0).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn cross_entropy_of_equal_logits_is_the_log_of_the_classes() -> Result<()> {
        let ys = Sequence::padded(
            Tensor::zeros((2, 3, 5), candle_core::DType::F64, &Device::Cpu)?,
            &[3, 1],
        )?;
        let targets = Tensor::new(&[[0u32, 1, 4], [3, 77, 77]], &Device::Cpu)?;
        let loss = cross_entropy(&ys, &targets)?.to_scalar::<f64>()?;
        assert!((loss - 5f64.ln()).abs() < 1e-15, "{loss}");
        Ok(())
    }
}
