//! Training and test examples of a data set, and the order in which batches visit them.

use crate::task::{BatchKey, Split};
use rand::seq::SliceRandom;
use recurrent_core::named_rng;

/// A validation split holds out one in this many training examples.
const VALIDATION: usize = 10;

/// The training and test examples of a data set, by number.
///
/// An epoch visits every training example once. Its order is random and depends on the seed of the
/// run and the number of the epoch. A batch at the end of an epoch is filled up from the next one.
/// Test batches visit the test examples in their own order and start again at the end. If the batch
/// size does not divide the size of the test set, the last batch is smaller: every example is seen
/// exactly once.
#[derive(Clone, Debug)]
pub struct Splits {
    train: Vec<usize>,
    test: Vec<usize>,
    validation: bool,
}

impl Splits {
    /// Numbers the training examples first and the test examples after them.
    pub fn new(train: usize, test: usize) -> Self {
        let (train, test) = ((0..train).collect(), (train..train + test).collect());
        Self { train, test, validation: false }
    }

    /// Splits into these examples. `validation` says whether `test` is a part of the training set.
    pub fn with_examples(train: Vec<usize>, test: Vec<usize>, validation: bool) -> Self {
        Self { train, test, validation }
    }

    /// Holds out a tenth of the training examples, at least one, in place of the test set. The
    /// choice is random but always the same. `None` if there is only one training example.
    pub fn validation_split(&self) -> Option<Self> {
        let count = self.train.len();
        let mut order = self.train.clone();
        order.shuffle(&mut named_rng(0, &format!("validation/{count}")));
        let mut test = order.split_off(count - (count / VALIDATION).max(1));
        test.sort_unstable();
        order.sort_unstable();
        (!order.is_empty()).then_some(Self { train: order, test, validation: true })
    }

    /// Whether the test examples are a validation split of the training set.
    pub fn is_validation(&self) -> bool {
        self.validation
    }

    /// The training examples.
    pub fn train(&self) -> &[usize] {
        &self.train
    }

    /// The test examples.
    pub fn test(&self) -> &[usize] {
        &self.test
    }

    /// The examples of one batch. `name` is the name of the random stream of the data set.
    pub fn batch(&self, name: &str, key: BatchKey) -> Vec<usize> {
        match key.split {
            Split::Train => self.train_batch(name, key),
            Split::Test => {
                let step = key.step % self.test.len().div_ceil(key.batch) as u64;
                let start = step as usize * key.batch;
                self.test[start..self.test.len().min(start + key.batch)].to_vec()
            }
        }
    }

    fn train_batch(&self, name: &str, key: BatchKey) -> Vec<usize> {
        let count = self.train.len() as u64;
        let start = key.step * key.batch as u64;
        let end = start + key.batch as u64;
        let mut examples = Vec::with_capacity(key.batch);
        for epoch in start / count..end.div_ceil(count) {
            let mut order = self.train.clone();
            order.shuffle(&mut named_rng(key.seed, &format!("train/{name}/{epoch}")));
            let within = |place: u64| (place.saturating_sub(epoch * count)).min(count) as usize;
            examples.extend_from_slice(&order[within(start)..within(end)]);
        }
        examples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn key(split: Split, seed: u64, step: u64, batch: usize) -> BatchKey {
        BatchKey { split, seed, step, batch }
    }

    #[test]
    fn every_epoch_visits_each_example_once_in_its_own_order() {
        let splits = Splits::new(10, 2);
        let examples = |batch, seed, steps: u64| -> Vec<_> {
            (0..steps)
                .flat_map(|step| splits.batch("x", key(Split::Train, seed, step, batch)))
                .collect()
        };
        let four = examples(4, 1, 10); // 40 examples are four epochs; they end inside a batch
        assert_eq!(four.len(), 40);
        let epochs: Vec<_> = four.chunks(10).collect();
        for epoch in &epochs {
            assert!(
                epoch.iter().copied().collect::<BTreeSet<_>>().into_iter().eq(0..10),
                "{epoch:?}"
            );
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(four, examples(20, 1, 2), "a batch may be larger than an epoch");
        assert_ne!(four, examples(4, 2, 10));
    }

    #[test]
    fn test_batches_visit_the_test_set_in_order_and_start_again() {
        let splits = Splits::new(2, 7);
        for seed in [1, 2] {
            let test = |step| splits.batch("x", key(Split::Test, seed, step, 3));
            let found: Vec<_> = (0..4).map(test).collect();
            assert_eq!(found, [vec![2, 3, 4], vec![5, 6, 7], vec![8], vec![2, 3, 4]]);
        }
    }

    #[test]
    fn validation_leaves_the_test_set_alone() {
        let splits = Splits::new(57, 20);
        let validation = splits.validation_split().expect("there are enough examples");
        assert_eq!((validation.train.len(), validation.test.len()), (52, 5));
        let both: BTreeSet<_> = validation.train.iter().chain(&validation.test).copied().collect();
        assert!(both.into_iter().eq(0..57), "each training example once, none of the test set");
        assert_eq!(
            splits.validation_split().map(|splits| splits.test),
            Some(validation.test),
            "always the same"
        );
        assert!(Splits::new(1, 20).validation_split().is_none());
    }
}
