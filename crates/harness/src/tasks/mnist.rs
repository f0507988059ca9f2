//! Handwritten digits, read bit by bit.

use super::idx::{Digits, CLASSES, EDGE, PIXELS};
use super::{classes, tensor};
use crate::task::{Batch, BatchDraw, Criterion, Judged, Reads, Split, Task};
use anyhow::{ensure, Result};
use candle::{DType, Device, Tensor};
use rand::seq::SliceRandom;
use recurrent_core::{stream, Sequence};
use std::path::Path;

/// MNIST (LeCun, Cortes and Burges), an image as a sequence: the digit is asked for after the last step. By rows;
/// by pixels, as in Le, Jaitly and Hinton 2015 (arXiv:1504.00941); or by pixels in an order that is random, but the
/// same for all images.
///
/// Pixels are scaled to \[0, 1\], without any other normalisation. The loss is the cross entropy in nats.
///
/// **The held-out images are the 10,000 of the test set**, whatever the seed: the published numbers are test
/// accuracies, and to be compared with them. The task has no criterion, so that no decision rests on the test set
/// here; who picks an epoch or a learning rate by it reports a number that is too good. All 60,000 other images are
/// trained on.
///
/// An epoch goes through the training images once, in an order of its own, drawn from the seed and its number. A batch
/// that the epoch has not enough images left for is filled up from the next. Held-out batches go through the test
/// set in its own order, and begin anew behind its end; the last one is smaller if the size of a batch does not divide
/// that of the set, so that [`Task::held_out`] examples are seen exactly once.
#[derive(Debug)]
pub struct Mnist {
    order: Order,
    train: Digits,
    test: Digits,
    /// The place in the image of each value of the sequence.
    places: Vec<usize>,
}

/// In which order a recurrent network sees an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By rows: 28 steps of 28 pixels.
    Rows,
    /// By pixels: 784 steps of 1.
    Pixels,
    /// By pixels, in a fixed random order. The papers share none, so this is one of our own: the numbers 0 to 783,
    /// shuffled with the stream `mnist-permuted` of seed 0. Step t shows the pixel that the t-th of them names.
    Permuted,
}

impl Order {
    pub(super) const ALL: [Self; 3] = [Self::Rows, Self::Pixels, Self::Permuted];

    /// The name of the task with images in this order.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "mnist-rows",
            Self::Pixels => "mnist-pixels",
            Self::Permuted => "mnist-permuted",
        }
    }

    /// The number of steps of an image.
    pub const fn steps(self) -> usize {
        match self {
            Self::Rows => EDGE,
            Self::Pixels | Self::Permuted => PIXELS,
        }
    }
}

impl Mnist {
    /// Reads MNIST from the folder `data` with its four IDX files, unpacked: `train-images-idx3-ubyte`,
    /// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, or with a dot before `idx`.
    /// Subsets will do, of any number of images.
    ///
    /// # Errors
    /// If a file is missing or cannot be read; is not of the IDX format, or shorter or longer than its header says;
    /// holds images that are not 28 by 28, or labels that are not 0 to 9, or not one an image.
    pub fn open(data: &Path, order: Order) -> Result<Self> {
        Ok(Self::new(Digits::read(data)?, order))
    }

    /// Reads MNIST from the data set `ylecun/mnist` of the hub, which is fetched once.
    ///
    /// # Errors
    /// If it cannot be had, see [`Repository::file`](recurrent_weights::hub::Repository::file), or is not what was expected.
    #[cfg(feature = "hub")]
    pub fn from_hub(hub: &recurrent_weights::hub::Hub, order: Order) -> Result<Self> {
        Ok(Self::new(super::hub::digits(hub, &super::hub::MNIST)?, order))
    }

    fn new([train, test]: [Digits; 2], order: Order) -> Self {
        let mut places: Vec<_> = (0..PIXELS).collect();
        if order == Order::Permuted {
            places.shuffle(&mut stream(0, "mnist-permuted"));
        }
        Self { order, train, test, places }
    }

    /// The training images of a batch.
    fn drawn(&self, draw: BatchDraw) -> Vec<usize> {
        let count = self.train.labels.len() as u64;
        let start = draw.step * draw.batch as u64;
        let end = start + draw.batch as u64;
        let mut images = Vec::with_capacity(draw.batch);
        for epoch in start / count..end.div_ceil(count) {
            let mut order: Vec<_> = (0..count as usize).collect();
            order.shuffle(&mut stream(draw.seed, &format!("train/mnist/{epoch}")));
            let within = |place: u64| (place.saturating_sub(epoch * count)).min(count) as usize;
            images.extend_from_slice(&order[within(start)..within(end)]);
        }
        images
    }

    /// The test images of a batch.
    fn held(&self, draw: BatchDraw) -> Vec<usize> {
        let count = self.test.labels.len();
        let step = draw.step % count.div_ceil(draw.batch) as u64;
        let start = step as usize * draw.batch;
        (start..count.min(start + draw.batch)).collect()
    }
}

impl Task for Mnist {
    fn name(&self) -> &'static str {
        self.order.name()
    }

    fn length(&self) -> usize {
        self.order.steps()
    }

    /// From the first step to the last.
    fn longest_lag(&self) -> usize {
        self.length() - 1
    }

    fn input_size(&self) -> usize {
        PIXELS / self.length()
    }

    fn output_size(&self) -> usize {
        CLASSES
    }

    fn reads(&self) -> Reads {
        Reads::Last
    }

    /// The targets are digits, `(batch)` in u32.
    fn batch(&self, draw: BatchDraw, dtype: DType, device: &Device) -> Result<Batch> {
        ensure!(draw.batch > 0, "{} batch: expected at least 1 example, got 0", self.name());
        let (digits, images) = match draw.split {
            Split::Train => (&self.train, self.drawn(draw)),
            Split::Held => (&self.test, self.held(draw)),
        };
        let pixels =
            |&image: &usize| self.places.iter().map(move |place| digits.pixels[image * PIXELS + place]);
        let xs: Vec<_> = images.iter().flat_map(pixels).map(|pixel| f64::from(pixel) / 255.0).collect();
        let xs = tensor(xs, (images.len(), self.length(), self.input_size()), dtype, device)?;
        let targets: Vec<_> = images.iter().map(|&image| u32::from(digits.labels[image])).collect();
        Ok(Batch { xs: Sequence::new(xs)?, targets: Tensor::from_vec(targets, images.len(), device)? })
    }

    /// The cross entropy, and whether the digit is right.
    fn judge(&self, outputs: &Tensor, batch: &Batch) -> Result<Judged> {
        classes::judge(self.name(), outputs, &batch.targets, CLASSES, 1)
    }

    /// The entropy of the labels of the test set in nats, about ln 10.
    fn baseline(&self) -> f64 {
        let labels = &self.test.labels;
        let share =
            |digit| labels.iter().filter(|&&label| label == digit).count() as f64 / labels.len() as f64;
        (0..CLASSES as u8).map(share).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
    }

    /// None.
    fn criterion(&self) -> Option<Criterion> {
        None
    }

    /// The number of training images, 60,000.
    fn examples(&self) -> Option<usize> {
        Some(self.train.labels.len())
    }

    /// The number of test images, 10,000.
    fn held_out(&self) -> usize {
        self.test.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::idx::tests::Folder;
    use super::super::tests::{baseline_is_that_of_the_best_constant, conforms, draw, held};
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        let folder = Folder::mnist(30, 20)?;
        for order in Order::ALL {
            let task = Mnist::open(&folder.0, order)?;
            conforms(&task)?;
            // Twenty images whose labels are not all equally frequent: the constant is then exact.
            baseline_is_that_of_the_best_constant(&Mnist { order, ..spoilt(task) }, 1e-12)?;
        }
        Ok(())
    }

    fn spoilt(task: Mnist) -> Mnist {
        let labels = task.test.labels.iter().map(|label| label / 4).collect();
        Mnist { test: Digits { labels, ..task.test }, ..task }
    }

    /// The pixels of an image, and its label.
    fn truth(digits: &Digits, image: usize) -> (Vec<f64>, u32) {
        let pixels = &digits.pixels[image * 784..(image + 1) * 784];
        (pixels.iter().map(|&pixel| f64::from(pixel) / 255.0).collect(), u32::from(digits.labels[image]))
    }

    #[test]
    fn every_order_shows_every_pixel_with_its_label() -> Result<()> {
        let folder = Folder::mnist(11, 7)?;
        for (order, shape) in
            [(Order::Rows, [7, 28, 28]), (Order::Pixels, [7, 784, 1]), (Order::Permuted, [7, 784, 1])]
        {
            let task = Mnist::open(&folder.0, order)?;
            let batch = task.batch(held(3, 0, 7), DType::F64, &Device::Cpu)?;
            assert_eq!(batch.xs.values().dims(), shape);
            let rows = batch.xs.values().reshape((7, 784))?.to_vec2::<f64>()?;
            for (image, (row, label)) in rows.into_iter().zip(batch.targets.to_vec1::<u32>()?).enumerate() {
                let (pixels, expected) = truth(&task.test, image);
                assert_eq!(label, expected);
                assert!(row.iter().all(|value| (0.0..=1.0).contains(value)));
                match order {
                    Order::Permuted => {
                        assert_ne!(row, pixels);
                        assert_eq!(row, task.places.iter().map(|&place| pixels[place]).collect::<Vec<_>>());
                    }
                    Order::Rows | Order::Pixels => assert_eq!(row, pixels),
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_permutation_never_changes() -> Result<()> {
        let places = Mnist::open(&Folder::mnist(1, 1)?.0, Order::Permuted)?.places;
        assert_eq!(places[..6], [302, 230, 705, 64, 181, 717], "saved runs depend on it");
        assert!(places.into_iter().collect::<BTreeSet<_>>().into_iter().eq(0..784), "each pixel once");
        Ok(())
    }

    #[test]
    fn an_epoch_shows_each_image_once_in_an_order_of_its_own() -> Result<()> {
        let task = Mnist::open(&Folder::mnist(10, 2)?.0, Order::Rows)?;
        let images = |batch: usize, seed, steps: u64| -> Vec<_> {
            let step = |step| task.drawn(BatchDraw { seed, step, batch, ..draw(Split::Train) });
            (0..steps).flat_map(step).collect()
        };
        let three = images(4, 1, 10); // 40 images: four epochs, whose ends fall into batches
        assert_eq!(three.len(), 40);
        let epochs: Vec<_> = three.chunks(10).collect();
        for epoch in &epochs {
            assert!(epoch.iter().copied().collect::<BTreeSet<_>>().into_iter().eq(0..10), "{epoch:?}");
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(three, images(20, 1, 2), "a batch may be longer than an epoch");
        assert_ne!(three, images(4, 2, 10));
        Ok(())
    }

    #[test]
    fn held_batches_go_through_the_test_set_and_begin_anew() -> Result<()> {
        let task = Mnist::open(&Folder::mnist(2, 7)?.0, Order::Rows)?;
        let labels = |seed, step| -> Result<Vec<u32>> {
            Ok(task.batch(held(seed, step, 3), DType::F32, &Device::Cpu)?.targets.to_vec1()?)
        };
        for seed in [1, 2] {
            let found: Vec<_> = (0..4).map(|step| labels(seed, step)).collect::<Result<_>>()?;
            assert_eq!(found, [vec![0, 1, 2], vec![3, 4, 5], vec![6], vec![0, 1, 2]]);
        }
        assert_eq!((task.held_out(), task.examples()), (7, Some(2)));
        let error = task.batch(held(1, 0, 0), DType::F32, &Device::Cpu).expect_err("must fail").to_string();
        assert_eq!(error, "mnist-rows batch: expected at least 1 example, got 0");
        Ok(())
    }
}
