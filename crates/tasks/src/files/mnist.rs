//! Small images, read bit by bit.

use super::idx::{Images, CLASSES, EDGE, PIXELS};
use super::input::checksum;
use crate::draw::tensor;
use crate::loss;
use crate::splits::Splits;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use anyhow::{ensure, Result};
use candle::{DType, Device, Tensor};
use rand::seq::SliceRandom;
use recurrent_core::{named_rng, Sequence};
use std::path::Path;
use std::sync::Arc;

/// MNIST (LeCun, Cortes and Burges) or Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), an image as a sequence: what it shows is asked for after the last step. By rows;
/// by pixels, as in Le, Jaitly and Hinton 2015 (arXiv:1504.00941); or by pixels in an order that is random, but the
/// same for all images.
///
/// Pixels are scaled to \[0, 1\], without any other normalisation. The loss is the cross entropy in nats.
///
/// **The held-out images are the 10,000 of the test set**, whatever the seed: the published numbers are test
/// accuracies, and to be compared with them. The task has no criterion, so that no decision rests on the test set
/// here; who picks an epoch or a learning rate by it reports a number that is too good, and should do so on the task that
/// [`Task::validation_split`] gives. All 60,000 other images are trained on.
///
/// An epoch goes through the training images once, in an order of its own, drawn from the seed and its number. A batch
/// that the epoch has not enough images left for is filled up from the next. Held-out batches go through the test
/// set in its own order, and begin anew behind its end; the last one is smaller if the size of a batch does not divide
/// that of the set, so that [`Task::held_out`] examples are seen exactly once.
#[derive(Clone, Debug)]
pub struct Mnist {
    shown: ImageSet,
    order: PixelOrder,
    /// Of the training set, and behind them of the test set.
    images: Arc<Images>,
    splits: Splits,
    /// The place in the image of each value of the sequence.
    places: Vec<usize>,
}

/// What the images show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSet {
    /// Handwritten digits: MNIST.
    Mnist,
    /// Clothes: Fashion-MNIST.
    FashionMnist,
}

impl ImageSet {
    pub(crate) const ALL: [Self; 2] = [Self::Mnist, Self::FashionMnist];
}

/// In which order a recurrent network sees an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelOrder {
    /// By rows: 28 steps of 28 pixels.
    Rows,
    /// By pixels: 784 steps of 1.
    Pixels,
    /// By pixels, in a fixed random order. The papers share none, so this is one of our own: the numbers 0 to 783,
    /// shuffled with the stream `mnist-permuted` of seed 0. Step t shows the pixel that the t-th of them names.
    Permuted,
}

impl PixelOrder {
    pub(crate) const ALL: [Self; 3] = [Self::Rows, Self::Pixels, Self::Permuted];

    /// The name of the task with such images in this order.
    pub const fn name(self, shown: ImageSet) -> &'static str {
        match (shown, self) {
            (ImageSet::Mnist, Self::Rows) => "mnist-rows",
            (ImageSet::Mnist, Self::Pixels) => "mnist-pixels",
            (ImageSet::Mnist, Self::Permuted) => "mnist-permuted",
            (ImageSet::FashionMnist, Self::Rows) => "fashion-rows",
            (ImageSet::FashionMnist, Self::Pixels) => "fashion-pixels",
            (ImageSet::FashionMnist, Self::Permuted) => "fashion-permuted",
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
    /// Reads the images from the folder `data` with the four IDX files: `train-images-idx3-ubyte`,
    /// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, or with a dot before `idx`, packed with gzip (`.gz`) or not.
    /// Subsets will do, of any number of images.
    ///
    /// # Errors
    /// If a file is missing or cannot be read; is not of the IDX format, or shorter or longer than its header says;
    /// holds images that are not 28 by 28, or labels that are not 0 to 9, or not one an image.
    pub fn open(data: &Path, shown: ImageSet, order: PixelOrder) -> Result<Self> {
        let [train, test] = Images::read(data)?;
        Ok(Self::new(train, &test, shown, order))
    }

    /// Reads the images from the data set `ylecun/mnist` or `zalando-datasets/fashion_mnist` of the hub, which is fetched once.
    ///
    /// # Errors
    /// If it cannot be had, see [`Repository::file`](recurrent_weights::hub::Repository::file), or is not what was expected.
    #[cfg(feature = "hub")]
    pub fn from_hub(
        hub: &recurrent_weights::hub::Hub,
        shown: ImageSet,
        order: PixelOrder,
    ) -> Result<Self> {
        let [train, test] = super::hub::images(hub, super::hub::source(shown))?;
        Ok(Self::new(train, &test, shown, order))
    }

    /// The task with these images to train on and to test with.
    pub fn new(train: Images, test: &Images, shown: ImageSet, order: PixelOrder) -> Self {
        let splits = Splits::new(train.labels.len(), test.labels.len());
        let mut images = train;
        images.pixels.extend_from_slice(&test.pixels);
        images.labels.extend_from_slice(&test.labels);
        let mut places: Vec<_> = (0..PIXELS).collect();
        if order == PixelOrder::Permuted {
            places.shuffle(&mut named_rng(0, "mnist-permuted"));
        }
        Self { shown, order, images: Arc::new(images), splits, places }
    }
}

impl Task for Mnist {
    fn name(&self) -> &'static str {
        self.order.name(self.shown)
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

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are labels, `(batch)` in u32.
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        ensure!(draw.batch > 0, "{} batch: expected at least 1 example, got 0", self.name());
        let images = self.splits.batch("mnist", draw);
        let pixels = |&image: &usize| {
            self.places.iter().map(move |place| self.images.pixels[image * PIXELS + place])
        };
        let xs: Vec<_> =
            images.iter().flat_map(pixels).map(|pixel| f64::from(pixel) / 255.0).collect();
        let xs = tensor(xs, (images.len(), self.length(), self.input_size()), dtype, device)?;
        let targets: Vec<_> =
            images.iter().map(|&image| u32::from(self.images.labels[image])).collect();
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: Tensor::from_vec(targets, images.len(), device)?,
        })
    }

    /// The cross entropy, and whether the label is right.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::cross_entropy(self.name(), outputs, batch, CLASSES, 1)
    }

    /// The entropy of the labels of the held-out images in nats, about ln 10.
    fn baseline(&self) -> f64 {
        loss::entropy(
            self.splits.test().iter().map(|&image| usize::from(self.images.labels[image])),
            CLASSES,
        )
    }

    /// None.
    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        Some(checksum([&self.images.pixels, &self.images.labels]))
    }

    /// The number of training images, 60,000.
    fn examples(&self) -> Option<usize> {
        Some(self.splits.train().len())
    }

    /// The number of test images, 10,000.
    fn held_out(&self) -> usize {
        self.splits.test().len()
    }

    fn is_validation(&self) -> bool {
        self.splits.is_validation()
    }

    /// A tenth of the training images, always the same, held out instead of the test set.
    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self { splits: self.splits.validation_split()?, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        let folder = Folder::mnist(30, 20)?;
        for shown in ImageSet::ALL {
            for order in PixelOrder::ALL {
                conforms(&Mnist::open(&folder.0, shown, order)?)?;
            }
        }
        // Twenty images whose labels are not all equally frequent: the constant is then exact.
        let mut task = Mnist::open(&folder.0, ImageSet::Mnist, PixelOrder::Rows)?;
        let labels = task.images.labels.iter().map(|label| label / 4).collect();
        task.images = Arc::new(Images { labels, pixels: task.images.pixels.clone() });
        baseline_is_that_of_the_best_constant(&task, 1e-12)
    }

    #[test]
    fn every_order_shows_every_pixel_with_its_label() -> Result<()> {
        let folder = Folder::mnist(11, 7)?;
        let test = Images::read(&folder.0)?[1].clone();
        for (order, shape) in [
            (PixelOrder::Rows, [7, 28, 28]),
            (PixelOrder::Pixels, [7, 784, 1]),
            (PixelOrder::Permuted, [7, 784, 1]),
        ] {
            let task = Mnist::open(&folder.0, ImageSet::Mnist, order)?;
            let batch = task.batch(held(3, 0, 7), DType::F64, &Device::Cpu)?;
            assert_eq!(batch.xs.values().dims(), shape);
            let rows = batch.xs.values().reshape((7, 784))?.to_vec2::<f64>()?;
            for (image, (row, label)) in
                rows.into_iter().zip(batch.targets.to_vec1::<u32>()?).enumerate()
            {
                let pixels = test.pixels[image * 784..(image + 1) * 784].iter();
                let pixels: Vec<_> = pixels.map(|&pixel| f64::from(pixel) / 255.0).collect();
                assert_eq!(label, u32::from(test.labels[image]));
                assert!(row.iter().all(|value| (0.0..=1.0).contains(value)));
                match order {
                    PixelOrder::Permuted => {
                        assert_ne!(row, pixels);
                        assert_eq!(
                            row,
                            task.places.iter().map(|&place| pixels[place]).collect::<Vec<_>>()
                        );
                    }
                    PixelOrder::Rows | PixelOrder::Pixels => assert_eq!(row, pixels),
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_permutation_never_changes() -> Result<()> {
        let places =
            Mnist::open(&Folder::mnist(1, 1)?.0, ImageSet::Mnist, PixelOrder::Permuted)?.places;
        assert_eq!(places[..6], [302, 230, 705, 64, 181, 717], "saved runs depend on it");
        assert!(
            places.into_iter().collect::<BTreeSet<_>>().into_iter().eq(0..784),
            "each pixel once"
        );
        Ok(())
    }

    #[test]
    fn validation_is_part_of_the_training_set() -> Result<()> {
        let task = Mnist::open(&Folder::mnist(20, 7)?.0, ImageSet::Mnist, PixelOrder::Rows)?;
        assert_eq!((task.held_out(), task.examples()), (7, Some(20)));
        let validating = task.validation_split().expect("there are enough images");
        assert_eq!((validating.held_out(), validating.examples()), (2, Some(18)));
        let batch = validating.batch(held(1, 0, 2), DType::F32, &Device::Cpu)?;
        let expected: Vec<_> = task
            .splits
            .validation_split()
            .expect("as above")
            .test()
            .iter()
            .map(|image| image % 10)
            .collect();
        assert_eq!(
            batch.targets.to_vec1::<u32>()?,
            expected.iter().map(|&label| label as u32).collect::<Vec<_>>()
        );
        let error =
            task.batch(held(1, 0, 0), DType::F32, &Device::Cpu).expect_err("must fail").to_string();
        assert_eq!(error, "mnist-rows batch: expected at least 1 example, got 0");
        Ok(())
    }
}
