//! MNIST and Fashion-MNIST, an image as a sequence of rows or pixels.

use super::idx::{Images, CLASSES, EDGE, PIXELS};
use super::input::checksum;
use crate::draw::tensor;
use crate::error::Result;
use crate::labelled::{DataInfo, LabelledData};
use crate::splits::Splits;
use crate::task::BatchKey;
use candle_core::{DType, Device};
use rand::seq::SliceRandom;
use recurrent_core::{named_rng, Sequence};
use std::path::Path;
use std::sync::Arc;

/// MNIST (LeCun, Cortes and Burges) or Fashion-MNIST (Xiao, Rasul and Vollgraf 2017,
/// arXiv:1708.07747). An image is a sequence, and the network names its class after the last step.
///
/// The sequence runs by rows; by pixels, as in Le, Jaitly and Hinton 2015 (arXiv:1504.00941); or by
/// pixels in an order that is random, but the same for all images. Pixels are scaled to \[0, 1\];
/// there is no other normalisation. The loss is the cross entropy in nats.
///
/// **The held-out images are the 10,000 of the test set**, for every seed: published numbers are
/// test accuracies. The task has no criterion, so no decision depends on the test set. To choose an
/// epoch or a learning rate, use the task that
/// [`Task::validation_split`](crate::task::Task::validation_split) returns; a choice by the test
/// set would report a number that is too good. All 60,000 other images are training examples.
///
/// An epoch visits every training image once, in a random order that depends on the seed and the
/// number of the epoch. A batch at the end of an epoch is filled up from the next one. Test batches
/// visit the test set in its own order and start again at its end. If the batch size does not
/// divide the size of the test set, the last batch is smaller: every image is seen exactly once.
#[derive(Clone, Debug)]
pub struct Mnist {
    set: ImageSet,
    order: PixelOrder,
    /// The training images, followed by the test images.
    images: Arc<Images>,
    splits: Splits,
    /// The pixel that each value of the sequence shows.
    pixels: Vec<usize>,
}

/// A set of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSet {
    /// MNIST: handwritten digits.
    Mnist,
    /// Fashion-MNIST: clothes.
    FashionMnist,
}

impl ImageSet {
    pub(crate) const ALL: [Self; 2] = [Self::Mnist, Self::FashionMnist];
}

/// The order in which the network reads an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelOrder {
    /// By rows: 28 steps of 28 pixels.
    Rows,
    /// By pixels: 784 steps of 1 pixel.
    Pixels,
    /// By pixels in a fixed random order. The papers do not share an order, so this crate has its
    /// own: the numbers 0 to 783, shuffled with the random stream `mnist-permuted` of seed 0. Step
    /// t shows the pixel with the t-th number.
    Permuted,
}

impl PixelOrder {
    pub(crate) const ALL: [Self; 3] = [Self::Rows, Self::Pixels, Self::Permuted];

    /// The name of the task with these images in this order.
    pub const fn name(self, set: ImageSet) -> &'static str {
        match (set, self) {
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
    /// Reads the images from the folder `data` with the four IDX files `train-images-idx3-ubyte`,
    /// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`. The names
    /// may have a dot before `idx`, and the files may be compressed with gzip (`.gz`). Subsets of
    /// any number of images are accepted.
    ///
    /// # Errors
    /// If a file is missing or cannot be read; if it is not in the IDX format, or is shorter or
    /// longer than its header says; if the images are not 28 by 28; if the labels are not 0 to 9 or
    /// not one per image.
    pub fn open(data: &Path, set: ImageSet, order: PixelOrder) -> Result<Self> {
        let [train, test] = Images::read(data)?;
        Ok(Self::new(train, &test, set, order))
    }

    /// Reads the images from the hub, data set `ylecun/mnist` or `zalando-datasets/fashion_mnist`.
    /// They are fetched once and then cached.
    ///
    /// # Errors
    /// If the files cannot be fetched, see
    /// [`Repository::file`](recurrent_weights::hub::Repository::file), or have other contents than
    /// expected.
    #[cfg(feature = "hub")]
    pub fn from_hub(
        hub: &recurrent_weights::hub::Hub,
        set: ImageSet,
        order: PixelOrder,
    ) -> Result<Self> {
        let [train, test] = super::hub::images(hub, super::hub::source(set))?;
        Ok(Self::new(train, &test, set, order))
    }

    /// The task with these images for training and test.
    pub fn new(train: Images, test: &Images, set: ImageSet, order: PixelOrder) -> Self {
        let splits = Splits::new(train.labels.len(), test.labels.len());
        let mut images = train;
        images.pixels.extend_from_slice(&test.pixels);
        images.labels.extend_from_slice(&test.labels);
        let mut pixels: Vec<_> = (0..PIXELS).collect();
        if order == PixelOrder::Permuted {
            pixels.shuffle(&mut named_rng(0, "mnist-permuted"));
        }
        Self { set, order, images: Arc::new(images), splits, pixels }
    }
}

impl LabelledData for Mnist {
    fn info(&self) -> DataInfo {
        DataInfo {
            name: self.order.name(self.set),
            stream: "mnist",
            length: self.order.steps(),
            features: PIXELS / self.order.steps(),
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
        self.images.labels[example].into()
    }

    fn inputs(
        &self,
        examples: &[usize],
        _: BatchKey,
        dtype: DType,
        device: &Device,
    ) -> Result<Sequence> {
        let DataInfo { length, features, .. } = self.info();
        let image = |&image: &usize| {
            self.pixels.iter().map(move |pixel| self.images.pixels[image * PIXELS + pixel])
        };
        let xs = examples.iter().flat_map(image).map(|pixel| f64::from(pixel) / 255.0).collect();
        let xs = tensor::<f64>(xs, (examples.len(), length, features), dtype, device)?;
        Ok(Sequence::new(xs)?)
    }

    fn data_checksum(&self) -> Option<String> {
        Some(checksum([&self.images.pixels, &self.images.labels]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::task::Task;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;
    use std::collections::BTreeSet;

    #[test]
    fn it_conforms() -> Result<()> {
        let folder = Folder::mnist(30, 20)?;
        for set in ImageSet::ALL {
            for order in PixelOrder::ALL {
                conforms(&Mnist::open(&folder.0, set, order)?)?;
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
            let batch = task.batch(test_key(3, 0, 7), DType::F64, &Device::Cpu)?;
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
                            task.pixels.iter().map(|&place| pixels[place]).collect::<Vec<_>>()
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
        let pixels =
            Mnist::open(&Folder::mnist(1, 1)?.0, ImageSet::Mnist, PixelOrder::Permuted)?.pixels;
        assert_eq!(pixels[..6], [302, 230, 705, 64, 181, 717], "saved runs depend on it");
        assert!(
            pixels.into_iter().collect::<BTreeSet<_>>().into_iter().eq(0..784),
            "each pixel once"
        );
        Ok(())
    }

    #[test]
    fn validation_is_part_of_the_training_set() -> Result<()> {
        let task = Mnist::open(&Folder::mnist(20, 7)?.0, ImageSet::Mnist, PixelOrder::Rows)?;
        assert_eq!((task.held_out(), task.examples()), (7, Some(20)));
        let validation = task.validation_split().expect("there are enough images");
        assert_eq!((validation.held_out(), validation.examples()), (2, Some(18)));
        let batch = validation.batch(test_key(1, 0, 2), DType::F32, &Device::Cpu)?;
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
        let error = task
            .batch(test_key(1, 0, 0), DType::F32, &Device::Cpu)
            .expect_err("must fail")
            .to_string();
        assert_eq!(error, "mnist-rows batch: expected at least 1 example, got 0");
        Ok(())
    }
}
