//! MNIST-1D, plain, shuffled, or followed by noise.

use crate::draw::{check_length, tensor};
use crate::error::Result;
use crate::labelled::{DataInfo, LabelledData};
use crate::splits::Splits;
use crate::task::{BatchKey, Split};
use candle_core::{DType, Device};
use rand::seq::SliceRandom;
use rand::Rng;
use recurrent_core::init::normal;
use recurrent_core::{named_rng, Sequence};
use std::sync::Arc;

/// The number of steps of an example.
const STEPS: usize = 40;
const CLASSES: usize = 10;
const EXAMPLES: usize = 5000;
/// The number of training examples; the others are the test set.
const TRAIN: usize = 4000;
/// The number of values of a template.
const TEMPLATE: usize = 12;
/// The least and the largest number of zeros after a template.
const PADDING: [usize; 2] = [36, 60];
/// The number of values of a padded template after stretching.
const STRETCHED: usize = TEMPLATE + PADDING[1];
/// The width of the range of amplitudes around 1.
const SCALE: f64 = 0.4;
/// The upper bound of shifts, exclusive.
const SHIFT: usize = 48;
/// The deviation of the noise beside the digit, before smoothing.
const SMOOTHED_NOISE: f64 = 0.25;
/// The deviation of the noise at every value.
const NOISE: f64 = 0.02;
/// Twice the largest difference between the ends that shearing adds.
const SHEAR: f64 = 0.75;
/// The deviation of the smoothing kernel.
const SIGMA: f64 = 2.0;
/// The smoothing kernel is cut off at this distance.
const RADIUS: isize = 8;

/// The shapes of the digits 0 to 9.
const DIGITS: [[f64; TEMPLATE]; CLASSES] = [
    [5., 6., 6.5, 6.75, 7., 7., 7., 7., 6.75, 6.5, 6., 5.],
    [5., 3., 3., 3.4, 3.8, 4.2, 4.6, 5., 5.4, 5.8, 5., 5.],
    [5., 6., 6.5, 6.5, 6., 5.25, 4.75, 4., 3.5, 3.5, 4., 5.],
    [5., 6., 6.5, 6.5, 6., 5., 5., 6., 6.5, 6.5, 6., 5.],
    [5., 4.4, 3.8, 3.2, 2.6, 2.6, 5., 5., 5., 5., 5., 5.],
    [5., 3., 3., 3., 3., 5., 6., 6.5, 6.5, 6., 4.5, 5.],
    [5., 4., 3.5, 3.25, 3., 3., 3., 3., 3.25, 3.5, 4., 5.],
    [5., 7., 7., 6.6, 6.2, 5.8, 5.4, 5., 4.6, 4.2, 5., 5.],
    [5., 4., 3.5, 3.5, 4., 5., 5., 4., 3.5, 3.5, 4., 5.],
    [5., 4., 3.5, 3.5, 4., 5., 5., 5., 5., 4.7, 4.3, 5.],
];

/// MNIST-1D of Greydanus and Kobak 2024 (arXiv:2011.14439, ICML 2024): ten shapes, each padded,
/// stretched, scaled, shifted, sheared and covered with noise. An example has 40 steps with one
/// value each, and the network names the shape after the last step. The examples are generated from
/// the published definition; nothing is downloaded.
///
/// An example is generated in these steps:
///
/// 1. take a template of 12 values, whitened and shifted to begin with zero;
/// 2. append 36 to 60 zeros, and stretch it linearly to 72 values;
/// 3. multiply by 0.8 to 1.2, and rotate by up to 47 values;
/// 4. add noise of deviation 0.25, smoothed by a Gaussian of deviation 2, beside the digit, and
///    noise of deviation 0.02 everywhere;
/// 5. shear by up to ±0.375 between the ends, and reduce linearly to 40 values.
///
/// There are 500 examples per class. They are shuffled and standardised together: 4,000 for
/// training and 1,000 for test.
///
/// The loss is the cross entropy in nats. Published test accuracies: logistic regression 32 %, MLP
/// 68 %, GRU 91 %, CNN 94 %, people 96 %; with [shuffled](Mnist1dVariant::Shuffled) steps, GRU 57
/// %. No accuracy is published for the [noise-padded](Mnist1dVariant::Padded) form. It is a cheap
/// form of the noise-padded CIFAR-10 of Chang, Chen, Haber and Chi 2019 (arXiv:1902.09689).
///
/// The held-out examples are the test set, and there is no criterion.
/// [`Task::validation_split`](crate::task::Task::validation_split) holds out a tenth of the
/// training set instead.
///
/// Deviations: the published GRU has 6 units in each of two directions, and its read-out takes the
/// outputs of all 40 steps, flattened (the authors' program); here the read-out takes the outputs
/// at the ends. The random numbers are those of this crate (stream `mnist1d` of seed 0): the
/// examples differ from the authors', but have the same distribution.
#[derive(Clone, Debug)]
pub struct Mnist1d {
    variant: Mnist1dVariant,
    data: Arc<Data>,
    splits: Splits,
    /// The original step that each step shows.
    order: Vec<usize>,
}

/// The form of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mnist1dVariant {
    /// The 40 steps.
    Plain,
    /// The 40 steps in a random order, the same for all examples.
    Shuffled,
    /// The 40 steps, followed by this many steps of noise of deviation 1. The noise is drawn anew
    /// in training and fixed for every held-out example.
    Padded(usize),
}

impl Mnist1dVariant {
    pub(crate) const NAMES: [&str; 3] =
        [Self::Plain.name(), Self::Shuffled.name(), Self::Padded(0).name()];

    /// The name of the task of this form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "mnist1d",
            Self::Shuffled => "mnist1d-shuffled",
            Self::Padded(_) => "mnist1d-padded",
        }
    }
}

/// All examples.
#[derive(Debug)]
struct Data {
    values: Vec<f32>, // (example, step)
    labels: Vec<u8>,
}

impl Mnist1d {
    /// MNIST-1D in one of its forms.
    ///
    /// # Errors
    /// If the number of steps of noise is not 1 to 10,000,000.
    pub fn new(variant: Mnist1dVariant) -> Result<Self> {
        if let Mnist1dVariant::Padded(noise) = variant {
            check_length(variant.name(), noise, 1)?;
        }
        let mut order: Vec<_> = (0..STEPS).collect();
        if variant == Mnist1dVariant::Shuffled {
            order.shuffle(&mut named_rng(0, "mnist1d-shuffled"));
        }
        Ok(Self {
            variant,
            data: Arc::new(generate()),
            splits: Splits::new(TRAIN, EXAMPLES - TRAIN),
            order,
        })
    }

    fn noise(&self) -> usize {
        match self.variant {
            Mnist1dVariant::Plain | Mnist1dVariant::Shuffled => 0,
            Mnist1dVariant::Padded(noise) => noise,
        }
    }

    /// The steps of noise after the examples of a batch.
    fn padding(&self, key: BatchKey, examples: &[usize]) -> Vec<Vec<f32>> {
        let noise = |rng: &mut _| (0..self.noise()).map(|_| normal(rng) as f32).collect();
        match key.split {
            Split::Train => {
                let mut rng =
                    named_rng(key.seed, &format!("train/mnist1d-padded/noise/{}", key.step));
                examples.iter().map(|_| noise(&mut rng)).collect()
            }
            Split::Test => {
                let own = |example: &usize| {
                    noise(&mut named_rng(0, &format!("mnist1d-padded/noise/{example}")))
                };
                examples.iter().map(own).collect()
            }
        }
    }
}

/// The ten templates, whitened and shifted to begin with zero.
fn templates() -> [[f64; TEMPLATE]; CLASSES] {
    DIGITS.map(|digit| {
        let mean = digit.iter().sum::<f64>() / TEMPLATE as f64;
        let variance = digit.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / TEMPLATE as f64;
        digit.map(|x| (x - digit[0]) / variance.sqrt() / 6.0)
    })
}

/// The whole data set.
fn generate() -> Data {
    let (mut rng, templates) = (named_rng(0, "mnist1d"), templates());
    let mut examples: Vec<(Vec<f64>, u8)> = Vec::with_capacity(EXAMPLES);
    for (label, template) in templates.iter().enumerate() {
        for _ in 0..EXAMPLES / CLASSES {
            examples.push((example(template, &mut rng), label as u8));
        }
    }
    examples.shuffle(&mut rng);
    let count = (EXAMPLES * STEPS) as f64;
    let all = || examples.iter().flat_map(|(values, _)| values);
    let mean = all().sum::<f64>() / count;
    let deviation = (all().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
    let values = all().map(|x| ((x - mean) / deviation) as f32).collect();
    Data { values, labels: examples.iter().map(|(_, label)| *label).collect() }
}

/// One example of a template.
fn example(template: &[f64; TEMPLATE], rng: &mut impl Rng) -> Vec<f64> {
    let zeros = rng.random_range(PADDING[0]..=PADDING[1]);
    // The digit is slightly above zero: exact zeros mark the padding.
    let padded: Vec<_> =
        template.iter().map(|x| x + 1e-8).chain(std::iter::repeat_n(0.0, zeros)).collect();
    let scale = 1.0 + SCALE * (rng.random::<f64>() - 0.5);
    let mut values: Vec<_> = stretch(&padded, STRETCHED).iter().map(|x| x * scale).collect();
    values.rotate_right(rng.random_range(0..SHIFT));
    let mut noise =
        |deviation: f64| -> Vec<f64> { (0..STRETCHED).map(|_| deviation * normal(rng)).collect() };
    let (beside, everywhere) = (smooth(&noise(SMOOTHED_NOISE)), noise(NOISE));
    let slope = SHEAR * (rng.random::<f64>() - 0.5);
    for (place, value) in values.iter_mut().enumerate() {
        let digit = if *value == 0.0 { beside[place] } else { *value };
        *value = digit + everywhere[place] - slope * (place as f64 / (STRETCHED - 1) as f64 - 0.5);
    }
    stretch(&values, STEPS)
}

/// Resamples to `count` values at equal distances, with linear interpolation.
fn stretch(values: &[f64], count: usize) -> Vec<f64> {
    let last = values.len() - 1;
    let at = |step: usize| {
        let place = step as f64 * last as f64 / (count - 1) as f64;
        let below = (place as usize).min(last - 1);
        let share = place - below as f64;
        values[below] * (1.0 - share) + values[below + 1] * share
    };
    (0..count).map(at).collect()
}

/// Smooths by a Gaussian; the values are mirrored at both ends.
fn smooth(values: &[f64]) -> Vec<f64> {
    let weight = |lag: isize| (-0.5 * (lag as f64 / SIGMA).powi(2)).exp();
    let total: f64 = (-RADIUS..=RADIUS).map(weight).sum();
    let count = values.len() as isize;
    let mirrored = |place: isize| match place {
        place if place < 0 => values[(-1 - place) as usize],
        place if place >= count => values[(2 * count - 1 - place) as usize],
        place => values[place as usize],
    };
    let at = |place: isize| {
        (-RADIUS..=RADIUS).map(|lag| weight(lag) * mirrored(place + lag)).sum::<f64>()
    };
    (0..count).map(|place| at(place) / total).collect()
}

impl LabelledData for Mnist1d {
    fn info(&self) -> DataInfo {
        DataInfo {
            name: self.variant.name(),
            stream: "mnist1d",
            length: STEPS + self.noise(),
            features: 1,
            classes: CLASSES,
        }
    }

    fn splits(&self) -> &Splits {
        &self.splits
    }

    fn with_splits(&self, splits: Splits) -> Self {
        Self { splits, ..self.clone() }
    }

    fn label(&self, example: usize) -> usize {
        self.data.labels[example].into()
    }

    fn inputs(
        &self,
        examples: &[usize],
        key: BatchKey,
        dtype: DType,
        device: &Device,
    ) -> Result<Sequence> {
        let length = self.info().length;
        let mut xs = Vec::with_capacity(examples.len() * length);
        for (example, noise) in examples.iter().zip(self.padding(key, examples)) {
            xs.extend(self.order.iter().map(|step| self.data.values[example * STEPS + step]));
            xs.extend(noise);
        }
        Ok(Sequence::new(tensor(xs, (examples.len(), length, 1), dtype, device)?)?)
    }

    fn data_checksum(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;

    #[test]
    fn it_conforms() -> Result<()> {
        for variant in [Mnist1dVariant::Plain, Mnist1dVariant::Shuffled, Mnist1dVariant::Padded(5)]
        {
            let task = Mnist1d::new(variant)?;
            conforms(&task)?;
            baseline_is_that_of_the_best_constant(&task, 1e-12)?;
            assert_eq!((task.examples(), task.held_out()), (Some(4000), 1000));
            let validation = task.validation_split().expect("there are enough examples");
            assert_eq!((validation.examples(), validation.held_out()), (Some(3600), 400));
        }
        let error = Mnist1d::new(Mnist1dVariant::Padded(0)).expect_err("must fail").to_string();
        assert_eq!(error, "mnist1d-padded length: expected 1 to 10000000, got 0");
        Ok(())
    }

    #[test]
    fn stretching_is_linear() {
        assert_eq!(stretch(&[0.0, 1.0, 4.0], 5), [0.0, 0.5, 1.0, 2.5, 4.0]);
        assert_eq!(stretch(&[2.0, 1.0, 0.0], 2), [2.0, 0.0]);
    }

    #[test]
    fn smoothing_keeps_the_mean_and_spreads_as_a_gaussian() {
        let mut peak = vec![0.0; 41];
        peak[20] = 1.0;
        let smoothed = smooth(&peak);
        assert!((smoothed.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((smoothed[22] / smoothed[20] - (-0.5f64).exp()).abs() < 1e-12);
        let mut edge = vec![0.0; 41];
        edge[0] = 1.0;
        assert!(
            (smooth(&edge).iter().sum::<f64>() - 1.0).abs() < 1e-12,
            "the mirrored ends keep the sum"
        );
    }

    // Mean and standard deviation over ten data sets of the authors' definition in numpy (seeds 42
    // and 0 to 8).
    const SKEWNESS: (f64, f64) = (-0.0739, 0.0111);
    const KURTOSIS: (f64, f64) = (4.3685, 0.0265);
    const WITHIN: (f64, f64) = (0.9133, 0.0017);
    const LARGEST: (f64, f64) = (0.7679, 0.0307);

    /// The variance within a class, averaged over all steps, and the largest absolute mean of a
    /// class at any step.
    fn spread(data: &Data) -> (f64, f64) {
        let (mut within, mut largest) = (0.0, 0f64);
        for label in 0..CLASSES as u8 {
            let members: Vec<_> =
                (0..EXAMPLES).filter(|&example| data.labels[example] == label).collect();
            for step in 0..STEPS {
                let values =
                    || members.iter().map(|example| f64::from(data.values[example * STEPS + step]));
                let mean = values().sum::<f64>() / members.len() as f64;
                within +=
                    values().map(|x| (x - mean).powi(2)).sum::<f64>() / (EXAMPLES * STEPS) as f64;
                largest = largest.max(mean.abs());
            }
        }
        (within, largest)
    }

    #[test]
    fn the_examples_are_distributed_as_the_published_ones() {
        let data = generate();
        let all = data.values.iter().map(|&x| f64::from(x));
        let count = data.values.len() as f64;
        let mean = all.clone().sum::<f64>() / count;
        let moment = |power: i32| all.clone().map(|x| x.powi(power)).sum::<f64>() / count;
        assert!(mean.abs() < 1e-6 && (moment(2) - 1.0).abs() < 1e-6);
        assert!((moment(3) - SKEWNESS.0).abs() < 4.0 * SKEWNESS.1, "{}", moment(3));
        assert!((moment(4) - KURTOSIS.0).abs() < 4.0 * KURTOSIS.1, "{}", moment(4));
        let (within, largest) = spread(&data);
        assert!((within - WITHIN.0).abs() < 4.0 * WITHIN.1, "{within}");
        assert!((largest - LARGEST.0).abs() < 4.0 * LARGEST.1, "{largest}");
        for label in 0..10 {
            assert_eq!(data.labels.iter().filter(|&&other| other == label).count(), 500);
        }
    }

    #[test]
    fn noise_follows_the_example_and_is_fixed_for_held_out_ones() -> Result<()> {
        let (plain, padded) =
            (Mnist1d::new(Mnist1dVariant::Plain)?, Mnist1d::new(Mnist1dVariant::Padded(30))?);
        let values = |task: &Mnist1d, key| -> Result<Vec<Vec<f32>>> {
            Ok(task.batch(key, DType::F32, &Device::Cpu)?.xs.values().squeeze(2)?.to_vec2()?)
        };
        let (first, again) =
            (values(&padded, test_key(1, 0, 100))?, values(&padded, test_key(2, 10, 100))?);
        assert_eq!(first, again, "another seed, and the second pass over the test set");
        let bare = values(&plain, test_key(1, 0, 100))?;
        assert!(first.iter().zip(&bare).all(|(padded, plain)| padded[..40] == plain[..]));
        let noise: Vec<_> =
            first.iter().flat_map(|row| &row[40..]).map(|&x| f64::from(x)).collect();
        let mean =
            |power: i32| noise.iter().map(|x| x.powi(power)).sum::<f64>() / noise.len() as f64;
        assert!(mean(1).abs() < 0.08 && (mean(2) - 1.0).abs() < 0.12, "{} {}", mean(1), mean(2));
        Ok(())
    }
}
