//! The temporal order task.

use crate::draw::{batch_rng, check_length, one_hot};
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use anyhow::Result;
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;
use std::sync::Arc;

/// The symbols of the paper: E, B, a, b, c, d, X, Y.
const SYMBOLS: usize = 8;
const START: usize = 0;
const TRIGGER: usize = 1;
const DISTRACTORS: std::ops::Range<usize> = 2..6;
const X: usize = 6;

/// Temporal order: tasks 6a and 6b of Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", section 5.6, at any length.
///
/// A sequence of symbols, one-hot over 8, starts with E, ends with the trigger B and otherwise consists of the
/// distractors a, b, c, d, save for two (6a) or three (6b) steps that hold X or Y. Which, in which order, is the class
/// asked for after the trigger: XX is 0 (Q in the paper), XY 1 (R), YX 2 (S), YY 3 (U); of three XXX is 0, XXY 1, and so on to YYY, 7. The paper's 100
/// steps are generalised to L as Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063, and their program) do; steps count
/// from 0:
///
/// | drawn uniformly | from | at L = 100 | in the paper |
/// |---|---|---|---|
/// | length | L to L + L/10, both included | 100 to 110 | "between 100 and 110" |
/// | t1 | L/10 up to, not including, 2 (L/10) | 10 to 19 | "between 10 and 20" |
/// | t2 of two | L/2 up to, not including, L/2 + L/10 | 50 to 59 | "between 50 and 60" |
/// | t2 of three | L/3 up to, not including, L/3 + L/10 | 33 to 42 | "between 33 and 43" |
/// | t3 | 2L/3 up to, not including, 2L/3 + L/10 | 66 to 75 | "between 66 and 76" |
///
/// (Fractions of L rounded down.) As in the paper the examples of a batch differ in length; the shorter are padded with
/// zeros behind their end, and [`Batch::xs`] knows their lengths. Pascanu et al. have a fixed length instead, and
/// neither E nor B.
///
/// Deviations: the loss is the cross entropy in nats, where the paper has squared errors of sigmoids; an answer
/// is right if its class has the highest output, where the paper asks for all outputs within 0.3. By guessing: ln 4 and
/// accuracy 1/4, or ln 8 and 1/8.
#[derive(Clone, Copy, Debug)]
pub struct TemporalOrder {
    length: usize,
    relevant: OrderVariant,
}

/// How many symbols are relevant.
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

    /// The name of the task with so many.
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
    /// If `length` is not 10 to 10,000,000: a tenth must be at least one step.
    pub fn new(length: usize, relevant: OrderVariant) -> Result<Self> {
        Ok(Self { length: check_length(relevant.name(), length, 10)?, relevant })
    }

    /// The first step of each range of relevant symbols.
    fn ranges(&self) -> Vec<usize> {
        match self.relevant {
            OrderVariant::Two => vec![self.tenth(), self.length / 2],
            OrderVariant::Three => vec![self.tenth(), self.length / 3, 2 * self.length / 3],
        }
    }

    /// L/10: how much lengths and places vary.
    fn tenth(&self) -> usize {
        self.length / 10
    }
}

impl Task for TemporalOrder {
    fn name(&self) -> &'static str {
        self.relevant.name()
    }

    /// L + L/10: the longest sequences.
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
        self.relevant.classes()
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are classes, `(batch)` in u32. The batch has as many steps as its longest example.
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = batch_rng(self.name(), self.length, draw);
        let (tenth, ranges) = (self.tenth(), self.ranges());
        let mut examples = Vec::with_capacity(draw.batch);
        let mut targets = Vec::with_capacity(draw.batch);
        for _ in 0..draw.batch {
            let mut symbols = vec![START; rng.random_range(self.length..=self.length + tenth)];
            let last = symbols.len() - 1;
            symbols[1..last].fill_with(|| rng.random_range(DISTRACTORS));
            symbols[last] = TRIGGER;
            let relevant: Vec<usize> = ranges.iter().map(|_| rng.random_range(0..2)).collect(); // 0 is X, 1 is Y
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
            targets: Tensor::from_vec(targets, draw.batch, device)?,
        })
    }

    /// The cross entropy, and whether the class is right.
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
        Some(Arc::new(Self::new(self.length.checked_mul(factor)?, self.relevant).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        for relevant in OrderVariant::ALL {
            conforms(&TemporalOrder::new(20, relevant)?)?;
            baseline_is_that_of_the_best_constant(&TemporalOrder::new(10, relevant)?, 0.003)?;
        }
        Ok(())
    }

    /// The real symbols of each example, and its class.
    fn examples(task: &TemporalOrder, count: usize) -> Result<Vec<(String, u32)>> {
        let batch = task.batch(held(1, 0, count), DType::F32, &Device::Cpu)?;
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
        for (relevant, orders) in [
            (OrderVariant::Two, vec!["XX", "XY", "YX", "YY"]),
            (OrderVariant::Three, orders.to_vec()),
        ] {
            for (symbols, class) in examples(&TemporalOrder::new(50, relevant)?, 300)? {
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
    fn lengths_and_places_fill_their_ranges_and_no_more() -> Result<()> {
        let (two, three) = (OrderVariant::Two, OrderVariant::Three);
        for (relevant, length, tenth, ranges) in [
            (two, 10, 1, vec![1, 5]),
            (two, 19, 1, vec![1, 9]),
            (two, 100, 10, vec![10, 50]),
            (three, 10, 1, vec![1, 3, 6]),
            (three, 19, 1, vec![1, 6, 12]),
            (three, 100, 10, vec![10, 33, 66]),
        ] {
            let task = TemporalOrder::new(length, relevant)?;
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
