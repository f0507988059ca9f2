//! The temporal order task.

use crate::draw::{batch_rng, check_length, one_hot};
use crate::error::Result;
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

/// The symbols of the paper: E, B, a, b, c, d, X, Y.
const SYMBOLS: usize = 8;
const START: usize = 0;
const TRIGGER: usize = 1;
const DISTRACTORS: std::ops::Range<usize> = 2..6;
const X: usize = 6;

/// Temporal order: tasks 6a and 6b of Hochreiter and Schmidhuber 1997, "Long Short-Term Memory",
/// section 5.6, at any length.
///
/// A one-hot sequence over 8 symbols starts with E and ends with the trigger B. Between them are
/// the distractors a, b, c, d, except at two (6a) or three (6b) steps with X or Y. The class after
/// the trigger is their order. For two symbols, XX is 0 (Q in the paper), XY 1 (R), YX 2 (S), YY 3
/// (U); for three, XXX is 0, XXY 1, and so on to YYY, 7.
///
/// The paper's 100 steps are generalised to L as in Pascanu, Mikolov and Bengio 2013
/// (arXiv:1211.5063, and their program). Steps count from 0, and fractions are rounded down:
///
/// | drawn uniformly | from | at L = 100 | in the paper |
/// |---|---|---|---|
/// | length | L to L + L/10, both included | 100 to 110 | "between 100 and 110" |
/// | t1 | L/10 up to, not including, 2 (L/10) | 10 to 19 | "between 10 and 20" |
/// | t2 of two | L/2 up to, not including, L/2 + L/10 | 50 to 59 | "between 50 and 60" |
/// | t2 of three | L/3 up to, not including, L/3 + L/10 | 33 to 42 | "between 33 and 43" |
/// | t3 | 2L/3 up to, not including, 2L/3 + L/10 | 66 to 75 | "between 66 and 76" |
///
/// As in the paper, the examples of a batch differ in length. Shorter ones are padded with zeros at
/// the end, and [`Batch::xs`] has their lengths. Pascanu et al. have a fixed length and neither E
/// nor B.
///
/// Deviations: the loss is the cross entropy in nats; the paper has squared errors of sigmoids. An
/// answer is correct if its class has the highest output; in the paper all outputs must be within
/// 0.3. Guessing gives ln 4 and an accuracy of 1/4, or ln 8 and 1/8.
#[derive(Clone, Copy, Debug)]
pub struct TemporalOrder {
    length: usize,
    variant: OrderVariant,
}

/// The number of relevant symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderVariant {
    /// Two, task 6a: 4 classes.
    Two,
    /// Three, task 6b: 8 classes.
    Three,
}

impl OrderVariant {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 2] = [Self::Two, Self::Three];

    /// The name of the task of this variant.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Two => "temporal-order",
            Self::Three => "temporal-order-6b",
        }
    }

    const fn classes(self) -> usize {
        match self {
            Self::Two => 4,
            Self::Three => 8,
        }
    }
}

impl TemporalOrder {
    /// Temporal order over sequences of at least `length` steps, the L above.
    ///
    /// # Errors
    /// If `length` is not 10 to 10,000,000. A tenth of it must be at least one step.
    pub fn new(length: usize, variant: OrderVariant) -> Result<Self> {
        Ok(Self { length: check_length(variant.name(), length, 10)?, variant })
    }

    /// The first step of each range of relevant symbols.
    fn ranges(&self) -> Vec<usize> {
        match self.variant {
            OrderVariant::Two => vec![self.tenth(), self.length / 2],
            OrderVariant::Three => vec![self.tenth(), self.length / 3, 2 * self.length / 3],
        }
    }

    /// L/10: the range of lengths and positions.
    fn tenth(&self) -> usize {
        self.length / 10
    }
}

impl Task for TemporalOrder {
    fn name(&self) -> &'static str {
        self.variant.name()
    }

    /// L + L/10.
    fn length(&self) -> usize {
        self.length + self.tenth()
    }

    /// L - 1: from the earliest t1 to the last step of the longest sequence.
    fn longest_lag(&self) -> usize {
        self.length - 1
    }

    fn input_size(&self) -> usize {
        SYMBOLS
    }

    fn output_size(&self) -> usize {
        self.variant.classes()
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are classes, `(batch)` in u32. The batch has as many steps as its longest
    /// example.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = batch_rng(self.name(), self.length, key);
        let (tenth, ranges) = (self.tenth(), self.ranges());
        let mut examples = Vec::with_capacity(key.batch);
        let mut targets = Vec::with_capacity(key.batch);
        for _ in 0..key.batch {
            let mut symbols = vec![START; rng.random_range(self.length..=self.length + tenth)];
            let last = symbols.len() - 1;
            symbols[1..last].fill_with(|| rng.random_range(DISTRACTORS));
            symbols[last] = TRIGGER;
            // 0 is X, 1 is Y
            let relevant: Vec<usize> = ranges.iter().map(|_| rng.random_range(0..2)).collect();
            for (start, symbol) in ranges.iter().zip(&relevant) {
                symbols[start + rng.random_range(0..tenth)] = X + symbol;
            }
            examples.push(symbols);
            targets.push(relevant.iter().fold(0, |class, &symbol| 2 * class + symbol as u32));
        }
        let lengths: Vec<_> = examples.iter().map(Vec::len).collect();
        let xs = one_hot(&examples, SYMBOLS, dtype, device)?;
        Ok(Batch {
            xs: Sequence::padded(xs, &lengths)?,
            targets: Tensor::from_vec(targets, key.batch, device)?,
        })
    }

    /// The cross entropy, and whether the class is correct.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::cross_entropy(self.name(), outputs, batch, self.output_size(), 1)
    }

    /// ln 4, or ln 8.
    fn baseline(&self) -> f64 {
        (self.output_size() as f64).ln()
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(0.99))
    }

    fn scaled(&self, factor: usize) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?, self.variant).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        for variant in OrderVariant::ALL {
            conforms(&TemporalOrder::new(20, variant)?)?;
            baseline_is_that_of_the_best_constant(&TemporalOrder::new(10, variant)?, 0.003)?;
        }
        Ok(())
    }

    /// The symbols of each example without padding, and its class.
    fn examples(task: &TemporalOrder, count: usize) -> Result<Vec<(String, u32)>> {
        let batch = task.batch(test_key(1, 0, count), DType::F32, &Device::Cpu)?;
        let lengths =
            batch.xs.lengths().expect("its examples differ in length").as_slice().to_vec();
        let letters = ["E", "B", "a", "b", "c", "d", "X", "Y"];
        let rows = batch.xs.values().to_vec3::<f32>()?;
        let text = |(steps, length): (&Vec<Vec<f32>>, usize)| {
            assert!(
                steps[length..].iter().flatten().all(|&value| value == 0.0),
                "zeros in the padding"
            );
            let symbol = |step: &Vec<f32>| {
                assert_eq!(step.iter().sum::<f32>(), 1.0);
                letters[step.iter().position(|&value| value == 1.0).expect("it is one-hot")]
            };
            steps[..length].iter().map(symbol).collect()
        };
        Ok(rows.iter().zip(lengths).map(text).zip(batch.targets.to_vec1()?).collect())
    }

    #[test]
    fn the_class_is_the_order_of_the_relevant_symbols() -> Result<()> {
        let orders = ["XXX", "XXY", "XYX", "XYY", "YXX", "YXY", "YYX", "YYY"];
        for (variant, orders) in [
            (OrderVariant::Two, vec!["XX", "XY", "YX", "YY"]),
            (OrderVariant::Three, orders.to_vec()),
        ] {
            for (symbols, class) in examples(&TemporalOrder::new(50, variant)?, 300)? {
                assert!(symbols.starts_with('E') && symbols.ends_with('B'), "{symbols}");
                let inner = &symbols[1..symbols.len() - 1];
                assert!(inner.chars().all(|symbol| "abcdXY".contains(symbol)), "{symbols}");
                let order: String = inner.chars().filter(|symbol| "XY".contains(*symbol)).collect();
                let expected = orders.iter().position(|known| *known == order);
                assert_eq!(expected, Some(class as usize), "{symbols}");
            }
        }
        Ok(())
    }

    #[test]
    fn lengths_and_positions_fill_their_ranges() -> Result<()> {
        let (two, three) = (OrderVariant::Two, OrderVariant::Three);
        for (variant, length, tenth, ranges) in [
            (two, 10, 1, vec![1, 5]),
            (two, 19, 1, vec![1, 9]),
            (two, 100, 10, vec![10, 50]),
            (three, 10, 1, vec![1, 3, 6]),
            (three, 19, 1, vec![1, 6, 12]),
            (three, 100, 10, vec![10, 33, 66]),
        ] {
            let task = TemporalOrder::new(length, variant)?;
            let (mut lengths, mut seen, mut lag) =
                (BTreeSet::new(), vec![BTreeSet::new(); ranges.len()], 0);
            for (symbols, _) in examples(&task, 1000)? {
                let places: Vec<_> =
                    symbols.match_indices(['X', 'Y']).map(|(step, _)| step).collect();
                lengths.insert(symbols.len());
                for (seen, place) in seen.iter_mut().zip(places.iter()) {
                    seen.insert(*place);
                }
                lag = lag.max(symbols.len() - 1 - places[0]);
            }
            assert!(lengths.into_iter().eq(length..=length + tenth));
            assert!(seen
                .into_iter()
                .zip(ranges)
                .all(|(seen, start)| seen.into_iter().eq(start..start + tenth)));
            assert_eq!((task.length(), task.longest_lag()), (length + tenth, lag));
        }
        Ok(())
    }

    #[test]
    fn a_length_without_a_tenth_is_refused() {
        let error = TemporalOrder::new(9, OrderVariant::Two).expect_err("must fail").to_string();
        assert_eq!(error, "temporal-order length: expected 10 to 10000000, got 9");
    }
}
