//! Losses and accuracies of a batch: cross entropy and squared error.

use crate::draw::tensor;
use crate::error::{ensure, Result};
use crate::task::{Batch, Metrics};
use candle_core::{DType, Device, Tensor, D};

/// Cross entropy in nats and accuracy of logits `(batch, classes)` or `(batch, time, classes)`.
///
/// The targets are classes in u32. The loss of an example is the mean over all its steps; its
/// accuracy is the share of correct answers among its last `graded` steps. Padding is ignored. An
/// answer that contains NaN is wrong.
pub(crate) fn cross_entropy(
    task: &str,
    outputs: &Tensor,
    batch: &Batch,
    classes: usize,
    graded: usize,
) -> Result<Metrics> {
    let targets = &batch.targets;
    let expected = [targets.dims(), &[classes]].concat();
    ensure!(
        outputs.dims() == expected,
        "{task} outputs: expected {expected:?}, got {:?}",
        outputs.dims()
    );
    let log_p = candle_nn::ops::log_softmax(outputs, D::Minus1)?;
    let losses = log_p.gather(&targets.unsqueeze(D::Minus1)?, D::Minus1)?.neg()?;
    let losses = losses.flatten_from(1)?; // (batch, steps)
    let (rows, steps) = losses.dims2()?;

    let correct = outputs.detach().argmax(D::Minus1)?.eq(targets)?.reshape(losses.shape())?;
    // The argmax of NaN is an arbitrary class; NaN differs from itself.
    let correct = (correct * losses.detach().eq(&losses.detach())?)?;
    let correct = correct.to_device(&Device::Cpu)?.to_vec2::<u8>()?;
    let lengths =
        batch.xs.lengths().filter(|_| targets.rank() == 2).map(|lengths| lengths.as_slice());
    let ends = lengths.map_or_else(|| vec![steps; rows], <[usize]>::to_vec);
    let count = |(row, &end): (&Vec<u8>, &usize)| {
        f64::from(row[end - graded..end].iter().map(|&correct| u32::from(correct)).sum::<u32>())
    };
    let correct = correct.iter().zip(&ends).map(|each| count(each) / graded as f64).collect();

    let losses = match lengths {
        None => losses.mean(1)?,
        Some(lengths) => {
            let (dtype, device) = (losses.dtype(), losses.device());
            let mask = batch.xs.mask(dtype)?.squeeze(2)?;
            let lengths: Vec<_> = lengths.iter().map(|&length| length as f64).collect();
            ((&losses * mask)?.sum(1)? / tensor(lengths, rows, dtype, device)?)?
        }
    };
    Ok(Metrics { losses, correct: Some(correct) })
}

/// The entropy of labels below `classes`, in nats: the expected loss of the best constant answer.
pub(crate) fn entropy(labels: impl Iterator<Item = usize>, classes: usize) -> f64 {
    let mut counts = vec![0usize; classes];
    labels.for_each(|label| counts[label] += 1);
    let all = counts.iter().sum::<usize>() as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| count as f64 / all)
        .map(|p| -p * p.ln())
        .sum()
}

/// The squared error of each example, averaged over its outputs `(batch, output)`. With a
/// `tolerance`, an answer is correct if its distance from the target is less than that.
pub(crate) fn squared_error(
    task: &str,
    outputs: &Tensor,
    batch: &Batch,
    tolerance: Option<f64>,
) -> Result<Metrics> {
    let (expected, found) = (batch.targets.dims(), outputs.dims());
    ensure!(found == expected, "{task} outputs: expected {expected:?}, got {found:?}");
    let losses = (outputs - &batch.targets)?.sqr()?.mean(D::Minus1)?;
    let Some(tolerance) = tolerance else { return Ok(Metrics { losses, correct: None }) };
    let squares =
        losses.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let correct =
        squares.iter().map(|square| f64::from(u8::from(square.sqrt() < tolerance))).collect();
    Ok(Metrics { losses, correct: Some(correct) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;
    use recurrent_core::Sequence;

    #[test]
    fn loss_and_accuracy_agree_with_the_definition() -> Result<()> {
        let logits = [[[0f64, 1., 2.], [3., 0., 0.]], [[0., 0., 0.], [0., 5., 1.]]];
        let targets = [[1u32, 0], [2, 2]];
        let outputs = Tensor::new(&logits, &Device::Cpu)?;
        let batch = |lengths: &[usize]| -> Result<Batch> {
            let xs =
                Sequence::padded(Tensor::zeros((2, 2, 1), DType::F64, &Device::Cpu)?, lengths)?;
            Ok(Batch { xs, targets: Tensor::new(&targets, &Device::Cpu)? })
        };
        let metrics = cross_entropy("x", &outputs, &batch(&[2, 2])?, 3, 1)?;
        let nats = |logits: [f64; 3], class: u32| {
            logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[class as usize]
        };
        for (row, loss) in metrics.losses.to_vec1::<f64>()?.into_iter().enumerate() {
            let expected =
                (0..2).map(|step| nats(logits[row][step], targets[row][step])).sum::<f64>() / 2.0;
            assert!((loss - expected).abs() < 1e-14, "{loss} {expected}");
        }
        assert_eq!(metrics.correct, Some(vec![1.0, 0.0]), "the last step alone is graded");
        let metrics = cross_entropy("x", &outputs, &batch(&[1, 2])?, 3, 1)?;
        let expected = nats(logits[0][0], targets[0][0]);
        let found = metrics.losses.to_vec1::<f64>()?;
        assert!((found[0] - expected).abs() < 1e-14, "the padding of the first does not count");
        assert_eq!(metrics.correct, Some(vec![0.0, 0.0]), "its last step is its first");
        Ok(())
    }

    #[test]
    fn answers_within_the_tolerance_are_correct() -> Result<()> {
        let batch = Batch {
            xs: Sequence::new(Tensor::zeros((4, 1, 1), DType::F64, &Device::Cpu)?)?,
            targets: Tensor::new(&[[0.5], [0.5], [0.5], [0.5]], &Device::Cpu)?,
        };
        let outputs = Tensor::new(&[[0.539], [0.461], [0.541], [f64::NAN]], &Device::Cpu)?;
        let metrics = squared_error("x", &outputs, &batch, Some(0.04))?;
        assert_eq!(metrics.correct, Some(vec![1.0, 1.0, 0.0, 0.0]));
        assert_eq!(squared_error("x", &outputs, &batch, None)?.correct, None);
        Ok(())
    }
}
