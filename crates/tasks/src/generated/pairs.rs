//! Sequences of (value, mark) of Hochreiter and Schmidhuber 1997, "Long Short-Term Memory":
//! sections 5.4 (adding) and 5.5 (multiplication).

use crate::draw::tensor;
use crate::error::Result;
use crate::task::{Batch, BatchKey};
use candle_core::{DType, Device};
use rand::Rng;
use recurrent_core::Sequence;

/// An answer is correct if its distance from the target is less than this.
pub(super) const TOLERANCE: f64 = 0.04;

/// The first mark is at one of the first ten pairs.
const FIRST: usize = 10;

/// The least T: the first ten pairs are then its first half.
pub(super) const SHORTEST: usize = 2 * FIRST;

/// Sequences of T to T + T/10 pairs (value, mark). One of the first ten pairs is marked, and
/// another one of the first T/2; their values are X1 and X2. The mark is 1 at these two, -1 at the
/// first and the last pair, and 0 elsewhere. If the first pair is one of the two, its mark stays -1
/// and its value becomes `neutral`.
pub(super) struct Pairs {
    pub(super) length: usize,
    /// The lower bound of the values; the upper bound is 1.
    pub(super) least: f32,
    pub(super) neutral: f32,
}

impl Pairs {
    /// T + T/10.
    pub(super) fn longest(length: usize) -> usize {
        length + length / 10
    }

    /// The probability that the first pair is one of the two marked ones.
    pub(super) fn first_marked(length: usize) -> f64 {
        let first = 1.0 / FIRST as f64;
        first + (1.0 - first) / (length / 2 - 1) as f64
    }

    /// Draws a batch. `target` computes the target from X1 and X2. Targets are `(batch, 1)`.
    pub(super) fn batch(
        &self,
        key: BatchKey,
        rng: &mut impl Rng,
        target: impl Fn(f64, f64) -> f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Batch> {
        let mut examples = Vec::with_capacity(key.batch);
        let mut targets = Vec::with_capacity(key.batch);
        for _ in 0..key.batch {
            let steps = rng.random_range(self.length..=Self::longest(self.length));
            let first = rng.random_range(0..FIRST);
            let second = rng.random_range(0..self.length / 2 - 1);
            let second = second + usize::from(second >= first); // another pair than the first
            let value = |rng: &mut _| self.least + (1.0 - self.least) * Rng::random::<f32>(rng);
            let mut pairs: Vec<[f32; 2]> = (0..steps).map(|_| [value(rng), 0.0]).collect();
            (pairs[first][1], pairs[second][1]) = (1.0, 1.0);
            (pairs[0][1], pairs[steps - 1][1]) = (-1.0, -1.0);
            if first == 0 || second == 0 {
                pairs[0][0] = self.neutral;
            }
            targets.push(target(f64::from(pairs[first][0]), f64::from(pairs[second][0])));
            examples.push(pairs);
        }
        let lengths: Vec<_> = examples.iter().map(Vec::len).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let padding = |pairs: &Vec<[f32; 2]>| std::iter::repeat_n([0.0; 2], time - pairs.len());
        let xs: Vec<_> = examples
            .iter()
            .flat_map(|pairs| pairs.iter().copied().chain(padding(pairs)))
            .flatten()
            .collect();
        let xs = tensor(xs, (key.batch, time, 2), dtype, device)?;
        Ok(Batch {
            xs: Sequence::padded(xs, &lengths)?,
            targets: tensor(targets, (key.batch, 1), dtype, device)?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::task::{Split, Task};
    use anyhow::Result;
    use std::collections::BTreeSet;

    /// The pairs, marked positions and target of an example.
    type Example = (Vec<Vec<f64>>, [usize; 2], f64);

    /// Checks the form of `count` sequences and returns them.
    pub(crate) fn examples(
        task: &dyn Task,
        length: usize,
        neutral: f64,
        count: usize,
    ) -> Result<Vec<Example>> {
        let key = BatchKey { split: Split::Test, seed: 1, step: 0, batch: count };
        let batch = task.batch(key, DType::F64, &Device::Cpu)?;
        let lengths =
            batch.xs.lengths().expect("its examples differ in length").as_slice().to_vec();
        let (rows, targets) =
            (batch.xs.values().to_vec3::<f64>()?, batch.targets.to_vec2::<f64>()?);
        let (mut seen, mut firsts, mut seconds) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut examples = Vec::new();
        for ((row, steps), target) in rows.into_iter().zip(lengths).zip(targets) {
            assert!(
                row[steps..].iter().flatten().all(|&value| value == 0.0),
                "zeros in the padding"
            );
            let pairs = row[..steps].to_vec();
            assert_eq!((pairs[0][1], pairs[steps - 1][1]), (-1.0, -1.0));
            let marked: Vec<_> = (0..steps).filter(|&step| pairs[step][1] == 1.0).collect();
            let zeros = pairs.iter().filter(|pair| pair[1] == 0.0).count();
            assert_eq!(zeros + marked.len() + 2, steps);
            let marked = match marked[..] {
                [first, second] => [first, second],
                [other] => {
                    assert_eq!(pairs[0][0], neutral, "the first pair is one of the two");
                    [0, other]
                }
                _ => panic!("{marked:?}"),
            };
            assert!(marked[0] < 10 && marked[1] < length / 2, "{marked:?}");
            seen.insert(steps);
            firsts.insert(marked[0]);
            seconds.insert(marked[1]);
            examples.push((pairs, marked, target[0]));
        }
        assert!(seen.into_iter().eq(length..=length + length / 10));
        assert!(firsts.into_iter().eq(0..10), "each of the first ten");
        assert!(seconds.into_iter().eq(1..length / 2), "each of the first half");
        let first =
            examples.iter().filter(|(_, marked, _)| marked[0] == 0).count() as f64 / count as f64;
        assert!((first - Pairs::first_marked(length)).abs() < 0.02, "{first}");
        Ok(examples)
    }
}
