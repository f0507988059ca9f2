//! What the tasks over symbols and classes share.

use super::tensor;
use crate::error::{ensure, Result};
use crate::task::{Batch, Judged};
use candle::{DType, Device, Tensor, D};

/// `(batch, time, symbols)`: one where the symbol of the step is, zero elsewhere, and in the
/// padding behind the end of the shorter examples.
pub(super) fn one_hot(
    examples: &[Vec<usize>],
    symbols: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let time = examples.iter().map(Vec::len).max().unwrap_or(0);
    let mut values = vec![0f32; examples.len() * time * symbols];
    for (row, example) in examples.iter().enumerate() {
        for (step, symbol) in example.iter().enumerate() {
            values[(row * time + step) * symbols + symbol] = 1.0;
        }
    }
    Ok(tensor(values, (examples.len(), time, symbols), dtype, device)?)
}

/// Cross entropy in nats, and the share of right answers: `outputs` are logits `(batch,
/// classes)` or `(batch, time,
/// classes)`, the targets classes in u32. The loss of an example is the mean over all of its steps, the accuracy that over the last `graded`
/// of them; padding counts for nothing. An answer that is not a number is wrong.
pub(super) fn judge(
    task: &str,
    outputs: &Tensor,
    batch: &Batch,
    classes: usize,
    graded: usize,
) -> Result<Judged> {
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

    let right = outputs.detach().argmax(D::Minus1)?.eq(targets)?.reshape(losses.shape())?;
    // The argmax of NaN is some class; only a number equals itself.
    let right = (right * losses.detach().eq(&losses.detach())?)?;
    let right = right.to_device(&Device::Cpu)?.to_vec2::<u8>()?;
    let lengths =
        batch.xs.lengths().filter(|_| targets.rank() == 2).map(|lengths| lengths.as_slice());
    let ends = lengths.map_or_else(|| vec![steps; rows], <[usize]>::to_vec);
    let count = |(row, &end): (&Vec<u8>, &usize)| {
        f64::from(row[end - graded..end].iter().map(|&right| u32::from(right)).sum::<u32>())
    };
    let right = right.iter().zip(&ends).map(|each| count(each) / graded as f64).collect();

    let losses = match lengths {
        None => losses.mean(1)?,
        Some(lengths) => {
            let (dtype, device) = (losses.dtype(), losses.device());
            let mask = batch.xs.mask(dtype)?.squeeze(2)?;
            let lengths: Vec<_> = lengths.iter().map(|&length| length as f64).collect();
            ((&losses * mask)?.sum(1)? / tensor(lengths, rows, dtype, device)?)?
        }
    };
    Ok(Judged { losses, right: Some(right) })
}

/// The entropy of labels below `classes` in nats: the expected loss of the best answer that does
/// not look at the input.
pub(super) fn entropy(labels: impl Iterator<Item = usize>, classes: usize) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;
    use recurrent_core::Sequence;

    #[test]
    fn loss_and_accuracy_are_those_written_out() -> Result<()> {
        let logits = [[[0f64, 1., 2.], [3., 0., 0.]], [[0., 0., 0.], [0., 5., 1.]]];
        let targets = [[1u32, 0], [2, 2]];
        let outputs = Tensor::new(&logits, &Device::Cpu)?;
        let batch = |lengths: &[usize]| -> Result<Batch> {
            let xs =
                Sequence::padded(Tensor::zeros((2, 2, 1), DType::F64, &Device::Cpu)?, lengths)?;
            Ok(Batch { xs, targets: Tensor::new(&targets, &Device::Cpu)? })
        };
        let judged = judge("x", &outputs, &batch(&[2, 2])?, 3, 1)?;
        let nats = |logits: [f64; 3], class: u32| {
            logits.iter().map(|z| z.exp()).sum::<f64>().ln() - logits[class as usize]
        };
        for (row, loss) in judged.losses.to_vec1::<f64>()?.into_iter().enumerate() {
            let expected =
                (0..2).map(|step| nats(logits[row][step], targets[row][step])).sum::<f64>() / 2.0;
            assert!((loss - expected).abs() < 1e-14, "{loss} {expected}");
        }
        assert_eq!(judged.right, Some(vec![1.0, 0.0]), "the last step alone is graded");
        let judged = judge("x", &outputs, &batch(&[1, 2])?, 3, 1)?;
        let expected = nats(logits[0][0], targets[0][0]);
        let found = judged.losses.to_vec1::<f64>()?;
        assert!((found[0] - expected).abs() < 1e-14, "the padding of the first does not count");
        assert_eq!(judged.right, Some(vec![0.0, 0.0]), "its last step is its first");
        Ok(())
    }

    #[test]
    fn one_hot_leaves_the_padding_zero() -> Result<()> {
        let found =
            one_hot(&[vec![1], vec![0, 2]], 3, DType::F32, &Device::Cpu)?.to_vec3::<f32>()?;
        assert_eq!(found, [[[0., 1., 0.], [0., 0., 0.]], [[1., 0., 0.], [0., 0., 1.]]]);
        Ok(())
    }
}
