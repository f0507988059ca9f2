//! The temporal order task.

use super::{checked_length, classes, generator};
use crate::task::{Batch, BatchDraw, Criterion, Judged, Reads, Task};
use anyhow::Result;
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::Sequence;

pub(super) const NAME: &str = "temporal-order";

/// The symbols of the paper: E, B, a, b, c, d, X, Y.
const SYMBOLS: usize = 8;
const START: usize = 0;
const TRIGGER: usize = 1;
const DISTRACTORS: std::ops::Range<usize> = 2..6;
const X: usize = 6;
const CLASSES: usize = 4;

/// Temporal order with two relevant symbols: task 6a of Hochreiter and Schmidhuber 1997, "Long Short-Term Memory",
/// section 5.6, at any length.
///
/// A sequence of symbols, one-hot over 8, starts with E, ends with the trigger B and otherwise consists of the
/// distractors a, b, c, d, save for two steps t1 and t2 that hold X or Y. Which, in which order, is the class
/// asked for after the trigger: XX is 0 (Q in the paper), XY 1 (R), YX 2 (S), YY 3 (U). The paper's 100 steps are
/// generalised to L as Pascanu, Mikolov and Bengio 2013 (arXiv:1211.5063, and their program) do; steps count
/// from 0:
///
/// | drawn uniformly | from | at L = 100 | in the paper |
/// |---|---|---|---|
/// | length | L to L + L/10, both included | 100 to 110 | "between 100 and 110" |
/// | t1 | L/10 up to, not including, 2 (L/10) | 10 to 19 | "between 10 and 20" |
/// | t2 | L/2 up to, not including, L/2 + L/10 | 50 to 59 | "between 50 and 60" |
///
/// (L/10 and L/2 rounded down.) As in the paper the examples of a batch differ in length; the shorter are padded with
/// zeros behind their end, and [`Batch::xs`] knows their lengths. Pascanu et al. have a fixed length instead, and
/// neither E nor B.
///
/// Deviations: the loss is the cross entropy in nats, where the paper has squared errors of four sigmoids; an answer
/// is right if its class has the highest output, where the paper asks for all outputs within 0.3. By guessing: ln 4,
/// accuracy 1/4.
#[derive(Clone, Copy, Debug)]
pub struct TemporalOrder {
    length: usize,
}

impl TemporalOrder {
    /// Temporal order over sequences of at least `length` steps, the L above.
    ///
    /// # Errors
    /// If `length` is not 10 to 10,000,000: a tenth must be at least one step.
    pub fn new(length: usize) -> Result<Self> {
        Ok(Self { length: checked_length(NAME, length, 10)? })
    }

    /// L/10: how much lengths and places vary.
    fn tenth(&self) -> usize {
        self.length / 10
    }
}

impl Task for TemporalOrder {
    fn name(&self) -> &'static str {
        NAME
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
        CLASSES
    }

    fn reads(&self) -> Reads {
        Reads::Last
    }

    /// The targets are classes, `(batch)` in u32. The batch has as many steps as its longest example.
    fn batch(&self, draw: BatchDraw, dtype: DType, device: &Device) -> Result<Batch> {
        let mut rng = generator(NAME, self.length, draw);
        let (tenth, half) = (self.tenth(), self.length / 2);
        let mut examples = Vec::with_capacity(draw.batch);
        let mut targets = Vec::with_capacity(draw.batch);
        for _ in 0..draw.batch {
            let mut symbols = vec![START; rng.random_range(self.length..=self.length + tenth)];
            let last = symbols.len() - 1;
            symbols[1..last].fill_with(|| rng.random_range(DISTRACTORS));
            symbols[last] = TRIGGER;
            let (first, second) = (rng.random_range(0..2), rng.random_range(0..2)); // 0 is X, 1 is Y
            symbols[tenth + rng.random_range(0..tenth)] = X + first;
            symbols[half + rng.random_range(0..tenth)] = X + second;
            examples.push(symbols);
            targets.push((2 * first + second) as u32);
        }
        let lengths: Vec<_> = examples.iter().map(Vec::len).collect();
        let xs = classes::one_hot(&examples, SYMBOLS, dtype, device)?;
        Ok(Batch {
            xs: Sequence::padded(xs, &lengths)?,
            targets: Tensor::from_vec(targets, draw.batch, device)?,
        })
    }

    /// The cross entropy, and whether the class is right.
    fn judge(&self, outputs: &Tensor, batch: &Batch) -> Result<Judged> {
        classes::judge(NAME, outputs, &batch.targets, CLASSES, 1)
    }

    /// ln 4.
    fn baseline(&self) -> f64 {
        (CLASSES as f64).ln()
    }

    fn criterion(&self) -> Option<Criterion> {
        Some(Criterion::AccuracyAtLeast(0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        conforms(&TemporalOrder::new(20)?)?;
        baseline_is_that_of_the_best_constant(&TemporalOrder::new(10)?, 0.002)
    }

    /// The real symbols of each example, and its class.
    fn examples(task: &TemporalOrder, count: usize) -> Result<Vec<(String, u32)>> {
        let batch = task.batch(held(1, 0, count), DType::F32, &Device::Cpu)?;
        let lengths = batch.xs.lengths().expect("its examples differ in length").as_slice().to_vec();
        let letters = ["E", "B", "a", "b", "c", "d", "X", "Y"];
        let rows = batch.xs.values().to_vec3::<f32>()?;
        let text = |(steps, length): (&Vec<Vec<f32>>, usize)| {
            assert!(steps[length..].iter().flatten().all(|&value| value == 0.0), "zeros in the padding");
            let symbol = |step: &Vec<f32>| {
                assert_eq!(step.iter().sum::<f32>(), 1.0);
                letters[step.iter().position(|&value| value == 1.0).expect("it is one-hot")]
            };
            steps[..length].iter().map(symbol).collect()
        };
        Ok(rows.iter().zip(lengths).map(text).zip(batch.targets.to_vec1()?).collect())
    }

    #[test]
    fn the_class_is_the_order_of_the_two_symbols() -> Result<()> {
        for (symbols, class) in examples(&TemporalOrder::new(50)?, 300)? {
            assert!(symbols.starts_with('E') && symbols.ends_with('B'), "{symbols}");
            let inner = &symbols[1..symbols.len() - 1];
            assert!(inner.chars().all(|symbol| "abcdXY".contains(symbol)), "{symbols}");
            let order: String = inner.chars().filter(|symbol| "XY".contains(*symbol)).collect();
            let expected = ["XX", "XY", "YX", "YY"].iter().position(|known| *known == order);
            assert_eq!(expected, Some(class as usize), "{symbols}");
        }
        Ok(())
    }

    #[test]
    fn lengths_and_places_fill_their_ranges_and_no_more() -> Result<()> {
        for (length, tenth) in [(10, 1), (19, 1), (100, 10)] {
            let task = TemporalOrder::new(length)?;
            let (mut lengths, mut first, mut second) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let mut lag = 0;
            for (symbols, _) in examples(&task, 1000)? {
                let places: Vec<_> = symbols.match_indices(['X', 'Y']).map(|(step, _)| step).collect();
                lengths.insert(symbols.len());
                first.insert(places[0]);
                second.insert(places[1]);
                lag = lag.max(symbols.len() - 1 - places[0]);
            }
            assert!(lengths.into_iter().eq(length..=length + tenth));
            assert!(first.into_iter().eq(tenth..2 * tenth));
            assert!(second.into_iter().eq(length / 2..length / 2 + tenth));
            assert_eq!((task.length(), task.longest_lag()), (length + tenth, lag));
        }
        Ok(())
    }

    #[test]
    fn a_length_without_a_tenth_is_refused() {
        let error = TemporalOrder::new(9).expect_err("must fail").to_string();
        assert_eq!(error, "temporal-order length: expected 10 to 10000000, got 9");
    }
}
