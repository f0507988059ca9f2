//! The parts of a data set: what is trained on, what is held out, and in which order batches go through them.

use crate::task::{BatchDraw, Split};
use rand::seq::SliceRandom;
use recurrent_core::stream;

/// The share of the training examples that a search holds out for validation.
const VALIDATION: usize = 10;

/// Which examples of a data set are trained on, and which are held out, by number.
///
/// An epoch goes through the training examples once, in an order of its own, drawn from the seed and its number. A batch
/// that the epoch has not enough examples left for is filled up from the next. Held-out batches go through the held-out examples
/// in their own order, and begin anew behind their end; the last one is smaller if the size of a batch does not divide
/// that of the set, so that each is seen exactly once.
#[derive(Clone, Debug)]
pub(crate) struct Splits {
    train: Vec<usize>,
    test: Vec<usize>,
}

impl Splits {
    /// Training examples first, those of the test set behind them.
    pub(crate) fn new(train: usize, test: usize) -> Self {
        Self { train: (0..train).collect(), test: (train..train + test).collect() }
    }

    /// These examples.
    pub(crate) fn with_examples(train: Vec<usize>, test: Vec<usize>) -> Self {
        Self { train, test }
    }

    /// A tenth of the training examples is held out instead of the test set, at least one, always the same; `None` if there is but one.
    pub(crate) fn validation_split(&self) -> Option<Self> {
        let count = self.train.len();
        let mut order = self.train.clone();
        order.shuffle(&mut stream(0, &format!("validation/{count}")));
        let mut test = order.split_off(count - (count / VALIDATION).max(1));
        test.sort_unstable();
        order.sort_unstable();
        (!order.is_empty()).then_some(Self { train: order, test })
    }

    /// The training examples.
    pub(crate) fn train(&self) -> &[usize] {
        &self.train
    }

    /// The held-out examples.
    pub(crate) fn test(&self) -> &[usize] {
        &self.test
    }

    /// The examples of a batch of the data set `name`, which is part of the name of a random stream.
    pub(crate) fn batch(&self, name: &str, draw: BatchDraw) -> Vec<usize> {
        match draw.split {
            Split::Train => self.train_batch(name, draw),
            Split::Test => {
                let step = draw.step % self.test.len().div_ceil(draw.batch) as u64;
                let start = step as usize * draw.batch;
                self.test[start..self.test.len().min(start + draw.batch)].to_vec()
            }
        }
    }

    fn train_batch(&self, name: &str, draw: BatchDraw) -> Vec<usize> {
        let count = self.train.len() as u64;
        let start = draw.step * draw.batch as u64;
        let end = start + draw.batch as u64;
        let mut examples = Vec::with_capacity(draw.batch);
        for epoch in start / count..end.div_ceil(count) {
            let mut order = self.train.clone();
            order.shuffle(&mut stream(draw.seed, &format!("train/{name}/{epoch}")));
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

    fn draw(split: Split, seed: u64, step: u64, batch: usize) -> BatchDraw {
        BatchDraw { split, seed, step, batch }
    }

    #[test]
    fn an_epoch_shows_each_example_once_in_an_order_of_its_own() {
        let splits = Splits::new(10, 2);
        let examples = |batch, seed, steps: u64| -> Vec<_> {
            (0..steps).flat_map(|step| splits.batch("x", draw(Split::Train, seed, step, batch))).collect()
        };
        let four = examples(4, 1, 10); // 40 examples: four epochs, whose ends fall into batches
        assert_eq!(four.len(), 40);
        let epochs: Vec<_> = four.chunks(10).collect();
        for epoch in &epochs {
            assert!(epoch.iter().copied().collect::<BTreeSet<_>>().into_iter().eq(0..10), "{epoch:?}");
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(four, examples(20, 1, 2), "a batch may be longer than an epoch");
        assert_ne!(four, examples(4, 2, 10));
    }

    #[test]
    fn held_batches_go_through_the_test_set_and_begin_anew() {
        let splits = Splits::new(2, 7);
        for seed in [1, 2] {
            let test = |step| splits.batch("x", draw(Split::Test, seed, step, 3));
            let found: Vec<_> = (0..4).map(test).collect();
            assert_eq!(found, [vec![2, 3, 4], vec![5, 6, 7], vec![8], vec![2, 3, 4]]);
        }
    }

    #[test]
    fn validation_leaves_the_test_set_alone() {
        let splits = Splits::new(57, 20);
        let validating = splits.validation_split().expect("there are enough examples");
        assert_eq!((validating.train.len(), validating.test.len()), (52, 5));
        let both: BTreeSet<_> = validating.train.iter().chain(&validating.test).copied().collect();
        assert!(both.into_iter().eq(0..57), "each training example once, none of the test set");
        assert_eq!(
            splits.validation_split().map(|splits| splits.test),
            Some(validating.test),
            "always the same"
        );
        assert!(Splits::new(1, 20).validation_split().is_none());
    }
}
