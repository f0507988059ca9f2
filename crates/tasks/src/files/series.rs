//! Classification of time series of the UEA and UCR archives.

use super::input::checksum;
use super::ts::{self, Series};
use crate::draw::tensor;
use crate::error::{ensure, Result};
use crate::labelled::{DataInfo, LabelledData};
use crate::splits::Splits;
use crate::task::BatchKey;
use candle_core::{DType, Device};
use recurrent_core::Sequence;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "series";

/// Classification of time series. A series has one or several values per step; series may differ in
/// length. The network names the class after the last step.
///
/// The data sets are those of the UEA archive (Bagnall et al. 2018, arXiv:1811.00075) and of the
/// UCR archive (Dau et al. 2018, arXiv:1810.07758), in their `.ts` files.
///
/// Every dimension is standardised by its mean and standard deviation over all steps of the
/// training set. A dimension that is constant there is only centred. The loss is the cross entropy
/// in nats. The held-out examples are the test set of the archive, and there is no criterion.
/// [`Task::validation_split`](crate::task::Task::validation_split) holds out a tenth of the
/// training set instead; the search for a learning rate uses it.
///
/// Kudo, Toyama and Shimbo 1999 ("Multidimensional curve classification using passing-through
/// regions", Pattern Recognition Letters 20, 1103) recorded JapaneseVowels: 270 and 370 series of 7
/// to 29 steps with 12 values, by 9 speakers. They report an accuracy of 94.1 %, and 96.2 % with a
/// hidden Markov model (both as quoted in a later list of data sets).
#[derive(Clone, Debug)]
pub struct SeriesClasses {
    data: Arc<Series>,
    /// The length of the longest series, in steps.
    longest: usize,
    splits: Splits,
}

impl SeriesClasses {
    /// Reads a data set. `data` is its file `NAME_TRAIN.ts`, with `NAME_TEST.ts` in the same
    /// folder, or that folder.
    ///
    /// # Errors
    /// If a file is missing or malformed, with its line. If the two files have different dimensions
    /// or classes.
    pub fn open(data: &Path) -> Result<Self> {
        let [train_path, test_path] = ts::files(data)?;
        let (mut series, test) = (ts::read(&train_path)?, ts::read(&test_path)?);
        let (expected, found) = (series.dimensions, test.dimensions);
        let path = test_path.display();
        ensure!(
            found == expected,
            "{path}: expected {expected} dimensions as in the training set, found {found}"
        );
        let (expected, found) = (series.classes.join(" "), test.classes.join(" "));
        ensure!(
            found == expected,
            "{path}: expected the classes {expected} of the training set, found {found}"
        );
        let steps = series.values.iter().map(Vec::len).max().unwrap_or(0) / series.dimensions;
        ensure!(
            steps > 1,
            "{}: expected series of at least 2 steps, found 1",
            train_path.display()
        );
        let splits = Splits::new(series.labels.len(), test.labels.len());
        series.values.extend(test.values);
        series.labels.extend(test.labels);
        standardise(&mut series, splits.train().len());
        let longest = (0..series.labels.len()).map(|index| series.steps(index)).max().unwrap_or(0);
        Ok(Self { data: Arc::new(series), longest, splits })
    }
}

/// Standardises every dimension by its mean and deviation over the first `train` series.
fn standardise(series: &mut Series, train: usize) {
    for dimension in 0..series.dimensions {
        let values = || {
            let own = |values: &'_ Vec<f32>| {
                values
                    .iter()
                    .skip(dimension)
                    .step_by(series.dimensions)
                    .copied()
                    .collect::<Vec<_>>()
            };
            series.values[..train].iter().flat_map(own).map(f64::from)
        };
        let count = values().count() as f64;
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        let scale = if deviation > 0.0 { 1.0 / deviation } else { 1.0 };
        for values in &mut series.values {
            let own = values.iter_mut().skip(dimension).step_by(series.dimensions);
            own.for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
        }
    }
}

impl LabelledData for SeriesClasses {
    fn info(&self) -> DataInfo {
        DataInfo {
            name: NAME,
            stream: NAME,
            length: self.longest,
            features: self.data.dimensions,
            classes: self.data.classes.len(),
        }
    }

    fn splits(&self) -> &Splits {
        &self.splits
    }

    fn with_splits(&self, splits: Splits) -> Self {
        Self { splits, ..self.clone() }
    }

    fn label(&self, example: usize) -> usize {
        self.data.labels[example]
    }

    /// The batch has as many steps as its longest series; shorter ones are padded with zeros.
    fn inputs(
        &self,
        examples: &[usize],
        _: BatchKey,
        dtype: DType,
        device: &Device,
    ) -> Result<Sequence> {
        let features = self.data.dimensions;
        let lengths: Vec<_> = examples.iter().map(|&series| self.data.steps(series)).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut xs = Vec::with_capacity(examples.len() * time * features);
        for (row, &series) in examples.iter().enumerate() {
            xs.extend_from_slice(&self.data.values[series]);
            xs.resize((row + 1) * time * features, 0.0);
        }
        let xs = tensor(xs, (examples.len(), time, features), dtype, device)?;
        Ok(match lengths.iter().all(|&length| length == time) {
            true => Sequence::new(xs)?,
            false => Sequence::padded(xs, &lengths)?,
        })
    }

    fn data_checksum(&self) -> Option<String> {
        let Series { classes, values, labels, .. } = self.data.as_ref();
        let names = classes.iter().map(|class| class.clone().into_bytes());
        let labels = labels.iter().map(|label| label.to_le_bytes().to_vec());
        let values =
            values.iter().map(|series| series.iter().flat_map(|x| x.to_le_bytes()).collect());
        Some(checksum(names.chain(labels).chain(values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::files::ts::tests::HEADER;
    use crate::task::Task;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, test_key};
    use anyhow::Result;
    use std::fs;

    /// A folder with an artificial data set: `train` and `test` series of 3 to 6 steps.
    fn folder(train: usize, test: usize) -> Result<Folder> {
        let folder = Folder::new()?;
        for (name, first, count) in [("Made_TRAIN.ts", 0, train), ("Made_TEST.ts", train, test)] {
            let line = |series: usize| {
                let values = |dimension: usize| -> Vec<_> {
                    (0..3 + series % 4)
                        .map(|step| format!("{}", series * 7 + step * 3 + dimension * 100))
                        .collect()
                };
                format!(
                    "{}:{}:{}\n",
                    values(0).join(","),
                    values(1).join(","),
                    ["a", "b"][series / 3 % 2]
                )
            };
            let lines: String = (first..first + count).map(line).collect();
            fs::write(folder.0.join(name), format!("{HEADER}{lines}"))?;
        }
        Ok(folder)
    }

    #[test]
    fn it_conforms() -> Result<()> {
        let task = SeriesClasses::open(&folder(40, 20)?.0)?;
        conforms(&task)?;
        baseline_is_that_of_the_best_constant(&task, 1e-12)?;
        assert_eq!((task.length(), task.examples(), task.held_out()), (6, Some(40), 20));
        let validation = task.validation_split().expect("there are enough series");
        assert_eq!((validation.examples(), validation.held_out()), (Some(36), 4));
        Ok(())
    }

    #[test]
    fn values_are_standardised_by_the_training_set() -> Result<()> {
        let task = SeriesClasses::open(&folder(4, 4)?.0)?;
        let all = BatchKey { split: crate::task::Split::Train, ..test_key(1, 0, 4) };
        for (key, standard) in [(all, true), (test_key(1, 0, 4), false)] {
            let batch = task.batch(key, DType::F64, &Device::Cpu)?;
            let lengths = batch.xs.lengths().expect("they differ in length").as_slice().to_vec();
            let rows = batch.xs.values().to_vec3::<f64>()?;
            let steps: Vec<_> =
                rows.iter().zip(&lengths).flat_map(|(row, &length)| &row[..length]).collect();
            for dimension in 0..2 {
                let mean = |power: i32| {
                    steps.iter().map(|step| step[dimension].powi(power)).sum::<f64>()
                        / steps.len() as f64
                };
                assert_eq!(mean(1).abs() < 1e-6 && (mean(2) - 1.0).abs() < 1e-6, standard);
            }
        }
        Ok(())
    }

    #[test]
    fn errors_name_the_file() -> Result<()> {
        let error = |folder: &Folder, path: &Path| {
            let error = format!("{:#}", SeriesClasses::open(path).expect_err("must fail"));
            error.replace(&folder.0.display().to_string(), "DIR")
        };
        let made = folder(4, 4)?;
        assert_eq!(
            error(&made, &made.0.join("Made_TEST.ts")),
            "data DIR/Made_TEST.ts: expected a folder or a file NAME_TRAIN.ts"
        );
        let test = made.0.join("Made_TEST.ts");
        fs::write(&test, "@classLabel true b a\n@data\n1,2:3,4:a\n")?;
        assert_eq!(
            error(&made, &made.0),
            "DIR/Made_TEST.ts: expected the classes a b of the training set, found b a"
        );
        fs::write(&test, "@classLabel true a b\n@data\n1,2:a\n")?;
        assert_eq!(
            error(&made, &made.0),
            "DIR/Made_TEST.ts: expected 2 dimensions as in the training set, found 1"
        );
        fs::write(&test, [b'@', 0xff])?;
        assert_eq!(
            error(&made, &made.0),
            "DIR/Made_TEST.ts: expected UTF-8, found another byte at offset 1"
        );
        fs::remove_file(&test)?;
        assert_eq!(error(&made, &made.0), "DIR/Made_TEST.ts: expected a file, found none");
        fs::write(made.0.join("Other_TRAIN.ts"), "")?;
        assert_eq!(
            error(&made, &made.0),
            "DIR: expected one file NAME_TRAIN.ts, found Made_TRAIN.ts, Other_TRAIN.ts"
        );
        let empty = Folder::new()?;
        assert_eq!(error(&empty, &empty.0), "DIR: expected a file NAME_TRAIN.ts, found none");
        Ok(())
    }
}
