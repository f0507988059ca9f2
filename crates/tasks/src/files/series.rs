//! Classification of time series of the UEA and UCR archives.

use super::input::checksum;
use super::ts::{self, Series};
use crate::draw::tensor;
use crate::loss;
use crate::splits::Splits;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Task};
use anyhow::{ensure, Result};
use candle::{DType, Device, Tensor};
use recurrent_core::Sequence;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "series";

/// Time series, one or several values a step and of equal or unequal lengths, to be told apart; the class is asked for after the last step. The data sets are those of the UEA archive
/// (Bagnall et al. 2018, arXiv:1811.00075) and of the UCR archive (Dau et al. 2018, arXiv:1810.07758), in their `.ts` files.
///
/// Every dimension is standardised by its mean and deviation over all steps of the training set; one that is constant there is only moved. The loss is the cross
/// entropy in nats. The held-out examples are the archive's test set, and there is no criterion; [`Task::validation_split`] holds out a tenth of the training set
/// instead, as the search for a learning rate does.
///
/// Kudo, Toyama and Shimbo 1999 ("Multidimensional curve classification using passing-through regions", Pattern Recognition Letters 20, 1103), who recorded JapaneseVowels
/// (270 and 370 series of 7 to 29 steps with 12 values, 9 speakers), report 94.1 % right, and 96.2 % with a hidden Markov model (both as quoted in a later list of data sets).
#[derive(Clone, Debug)]
pub struct SeriesClasses {
    data: Arc<Series>,
    splits: Splits,
}

impl SeriesClasses {
    /// Reads a data set: `data` is its file `NAME_TRAIN.ts`, beside which `NAME_TEST.ts` lies, or their folder.
    ///
    /// # Errors
    /// If a file is missing or wrong, with its line; if the two do not fit together.
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
        Ok(Self { data: Arc::new(series), splits })
    }

    fn steps(&self, series: usize) -> usize {
        self.data.values[series].len() / self.data.dimensions
    }
}

/// Standardises every dimension by what it is in the first `train` series.
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

impl Task for SeriesClasses {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The longest series.
    fn length(&self) -> usize {
        (0..self.data.labels.len()).map(|series| self.steps(series)).max().unwrap_or(0)
    }

    /// From the first step to the last.
    fn longest_lag(&self) -> usize {
        self.length() - 1
    }

    fn input_size(&self) -> usize {
        self.data.dimensions
    }

    fn output_size(&self) -> usize {
        self.data.classes.len()
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are the numbers of the classes, `(batch)` in u32. The batch has as many steps as its longest series; shorter ones are padded with zeros.
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        ensure!(draw.batch > 0, "{NAME} batch: expected at least 1 example, got 0");
        let series = self.splits.batch(NAME, draw);
        let lengths: Vec<_> = series.iter().map(|&series| self.steps(series)).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut xs = Vec::with_capacity(series.len() * time * self.input_size());
        for (index, &one) in series.iter().enumerate() {
            xs.extend_from_slice(&self.data.values[one]);
            xs.resize((index + 1) * time * self.input_size(), 0.0);
        }
        let xs = tensor(xs, (series.len(), time, self.input_size()), dtype, device)?;
        let targets: Vec<_> =
            series.iter().map(|&series| self.data.labels[series] as u32).collect();
        let xs = match lengths.iter().all(|&length| length == time) {
            true => Sequence::new(xs)?,
            false => Sequence::padded(xs, &lengths)?,
        };
        Ok(Batch { xs, targets: Tensor::from_vec(targets, series.len(), device)? })
    }

    /// The cross entropy, and whether the class is right.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::cross_entropy(NAME, outputs, batch, self.output_size(), 1)
    }

    /// The entropy of the classes of the held-out series in nats.
    fn baseline(&self) -> f64 {
        let labels = self.splits.test().iter().map(|&series| self.data.labels[series]);
        loss::entropy(labels, self.output_size())
    }

    /// None.
    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        let Series { classes, values, labels, .. } = self.data.as_ref();
        let names = classes.iter().map(|class| class.clone().into_bytes());
        let labels = labels.iter().map(|label| label.to_le_bytes().to_vec());
        let values = values
            .iter()
            .map(|series| series.iter().flat_map(|value| value.to_le_bytes()).collect());
        Some(checksum(names.chain(labels).chain(values)))
    }

    fn examples(&self) -> Option<usize> {
        Some(self.splits.train().len())
    }

    fn held_out(&self) -> usize {
        self.splits.test().len()
    }

    fn is_validation(&self) -> bool {
        self.splits.is_validation()
    }

    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        Some(Arc::new(Self { splits: self.splits.validation_split()?, ..self.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::files::ts::tests::HEADER;
    use crate::tests::{baseline_is_that_of_the_best_constant, conforms, held};
    use std::fs;

    /// A folder with a made-up data set of `train` and `test` series of 3 to 6 steps.
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
        let validating = task.validation_split().expect("there are enough series");
        assert_eq!((validating.examples(), validating.held_out()), (Some(36), 4));
        Ok(())
    }

    #[test]
    fn values_are_standardised_by_the_training_set_alone() -> Result<()> {
        let task = SeriesClasses::open(&folder(4, 4)?.0)?;
        let all = BatchKey { split: crate::task::Split::Train, ..held(1, 0, 4) };
        for (draw, standard) in [(all, true), (held(1, 0, 4), false)] {
            let batch = task.batch(draw, DType::F64, &Device::Cpu)?;
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
    fn files_that_do_not_fit_are_named() -> Result<()> {
        let error = |folder: &Folder, path: &Path| {
            let error = format!("{:#}", SeriesClasses::open(path).expect_err("must fail"));
            error.replace(&folder.0.display().to_string(), "DIR")
        };
        let made = folder(4, 4)?;
        assert_eq!(
            error(&made, &made.0.join("Made_TEST.ts")),
            "DIR/Made_TEST.ts: expected a folder or a file NAME_TRAIN.ts"
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
