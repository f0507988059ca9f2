//! Forecasting of a column of a CSV file.

use super::input::{checksum, data_file, excerpt, read_text};
use crate::draw::{tensor, LONGEST};
use crate::error::{bail, ensure, Error, Result};
use crate::loss;
use crate::splits::Splits;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Reference, Task, TaskConfig};
use crate::usage::bail_config;
use candle_core::{DType, Device, Tensor};
use recurrent_core::Sequence;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "forecast";

/// The default window.
pub(crate) const WINDOW: usize = 48;

/// One-step-ahead forecasting of a column of a CSV file whose rows are in the order of time: the
/// network reads T values and predicts the next.
///
/// The first 70 % of the rows are the training split; every one of them, except the first T, is a
/// target. The last 15 % are the test split. The 15 % between them replace the test split in
/// [`Task::validation_split`]. Values are standardised by the mean and standard deviation of the
/// training split. A window may reach back into an earlier split, as it would in use.
///
/// The loss is the squared error in units of that variance. The best constant answer is the mean of
/// the training split. The [reference](Task::reference) is the seasonal naive forecast (Hyndman and
/// Athanasopoulos 2021, section 5.2) on the same rows: the value one season before. With a season
/// of 1 it is the last value.
#[derive(Clone, Debug)]
pub struct Forecast {
    window: usize,
    season: usize,
    column: Option<String>,
    values: Arc<[f64]>,
    validation: Range<usize>,
    splits: Splits,
}

impl Forecast {
    /// Reads a column of the CSV file `data`, whose first row contains the names. If no column is
    /// named, the last one of a file with one or two columns is read. `window` is T, and `season`
    /// the season of the naive forecast, both in rows.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) if the window or the season is not 1 to
    /// 10,000,000, or if the column does not exist or occurs twice. Others, with the line, if the
    /// file cannot be read, if a value is missing or not a finite number, or if a row has a
    /// different number of fields; if there are too few rows, or if all training values are equal.
    pub fn open(data: &Path, column: Option<&str>, window: usize, season: usize) -> Result<Self> {
        for (name, count) in [("length", window), ("season", season)] {
            if !(1..=LONGEST).contains(&count) {
                bail_config!("{NAME} {name}: expected 1 to {LONGEST}, got {count}");
            }
        }
        data_file(data)?;
        let values = read(data, column)?;
        let (rows, fewest) = (values.len(), 10 + 2 * window.max(season));
        let path = data.display();
        ensure!(
            rows >= fewest,
            "{path}: expected at least {fewest} rows for windows of {window} and a season of \
             {season}, found {rows}"
        );
        let (first, second) = (rows * 70 / 100, rows * 85 / 100);
        let mean = values[..first].iter().sum::<f64>() / first as f64;
        let deviation =
            (values[..first].iter().map(|x| (x - mean).powi(2)).sum::<f64>() / first as f64).sqrt();
        ensure!(
            deviation > 0.0,
            "{path}: expected values that differ, found {} in the first {first} rows",
            values[0]
        );
        ensure!(
            deviation.is_finite(),
            "{path}: expected values whose variance is finite, found larger ones"
        );
        let splits =
            Splits::with_examples((window..first).collect(), (second..rows).collect(), false);
        let values = values.iter().map(|x| (x - mean) / deviation).collect();
        let column = column.map(str::to_string);
        Ok(Self { window, season, column, values, validation: first..second, splits })
    }
}

/// Reads the values of a column.
fn read(path: &Path, column: Option<&str>) -> Result<Vec<f64>> {
    let file = path.display();
    let text = read_text(path)?;
    let failed = |error| Error::data(format!("{file}: {error}"));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true) // the number of fields is checked below
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let Some(names) = records.next().transpose().map_err(failed)? else {
        bail!("{file}: expected a first row with the names of the columns, found an empty file")
    };
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        bail!(
            "{file}: expected a first row with the names of the columns, found numbers: {}",
            excerpt(&names.iter().collect::<Vec<_>>().join(","))
        )
    }
    let index = find_column(&names, column)?;
    let mut values = Vec::new();
    for record in records {
        let record = record.map_err(failed)?;
        let line = first_line(&text, &record);
        let (expected, found) = (names.len(), record.len());
        ensure!(
            found == expected,
            "{file}:{line}: expected {expected} fields as in the first row, found {found}"
        );
        let (field, name) = (&record[index], &names[index]);
        match field.parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ if ["", "na", "nan", "null"].contains(&field.to_lowercase().as_str()) => bail!(
                "{file}:{line}: column {name}: expected a number, found a missing value ({field:?})"
            ),
            _ => bail!(
                "{file}:{line}: column {name}: expected a finite number, found {:?}",
                excerpt(field)
            ),
        }
    }
    Ok(values)
}

/// The position of the column to read.
fn find_column(names: &csv::StringRecord, column: Option<&str>) -> Result<usize> {
    let all = || names.iter().collect::<Vec<_>>().join(", ");
    let Some(column) = column else {
        return match names.len() {
            1 | 2 => Ok(names.len() - 1),
            _ => bail_config!("{NAME} column: expected --column with one of {}, got none", all()),
        };
    };
    match names.iter().filter(|name| *name == column).count() {
        0 => bail_config!("{NAME} column {column}: no such column; there are {}", all()),
        1 => Ok(names.iter().position(|name| name == column).unwrap_or(0)),
        several => bail_config!("{NAME} column {column}: there are {several} columns of this name"),
    }
}

/// The line in which a record begins. Its position is that of the end of the previous record, so
/// empty lines before it are added.
fn first_line(text: &str, record: &csv::StringRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let rest = text.as_bytes().iter().skip(position.byte() as usize);
    let breaks = rest.take_while(|byte| matches!(byte, b'\n' | b'\r'));
    position.line() + breaks.filter(|&&byte| byte == b'\n').count() as u64
}

impl Task for Forecast {
    fn name(&self) -> &'static str {
        NAME
    }

    /// T.
    fn length(&self) -> usize {
        self.window
    }

    /// T - 1: from the first step of a window to its last.
    fn longest_lag(&self) -> usize {
        self.window - 1
    }

    fn input_size(&self) -> usize {
        1
    }

    fn output_size(&self) -> usize {
        1
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Last
    }

    /// The targets are `(batch, 1)`, in `dtype`.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        ensure!(key.batch > 0, "{NAME} batch: expected at least 1 example, got 0");
        let rows = self.splits.batch(NAME, key);
        let xs: Vec<_> =
            rows.iter().flat_map(|&row| &self.values[row - self.window..row]).copied().collect();
        let targets: Vec<_> = rows.iter().map(|&row| self.values[row]).collect();
        let xs = tensor(xs, (rows.len(), self.window, 1), dtype, device)?;
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: tensor(targets, (rows.len(), 1), dtype, device)?,
        })
    }

    /// The squared error, without an accuracy.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::squared_error(NAME, outputs, batch, None)
    }

    /// The mean square of the standardised held-out values: the loss of the training mean.
    fn baseline(&self) -> f64 {
        self.mean_square(|row| self.values[row])
    }

    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        Some(checksum(self.values.iter().map(|value| value.to_le_bytes())))
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
        let splits = Splits::with_examples(
            self.splits.train().to_vec(),
            self.validation.clone().collect(),
            true,
        );
        Some(Arc::new(Self { splits, ..self.clone() }))
    }

    fn config(&self) -> TaskConfig {
        let column = self.column.clone();
        TaskConfig { column, season: Some(self.season), ..TaskConfig::from_task(self) }
    }

    /// The seasonal naive forecast.
    fn reference(&self) -> Option<Reference> {
        let loss = self.mean_square(|row| self.values[row] - self.values[row - self.season]);
        Some(Reference { name: format!("seasonal naive, season {}", self.season), loss })
    }
}

impl Forecast {
    /// The mean square of an error over the held-out rows.
    fn mean_square(&self, error: impl Fn(usize) -> f64) -> f64 {
        let rows = self.splits.test();
        rows.iter().map(|&row| error(row).powi(2)).sum::<f64>() / rows.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::tests::{conforms, test_key};
    use crate::usage::line;
    use anyhow::Result;
    use std::fs;

    fn written(text: &str) -> Result<Folder> {
        let folder = Folder::new()?;
        fs::write(folder.0.join("made.csv"), text)?;
        Ok(folder)
    }

    /// A hundred rows: the row number, and a wave of period 10 on a slope.
    fn wave() -> Result<Folder> {
        let row = |row: usize| {
            format!(
                "{row},\"{}\"\n",
                (row as f64 * std::f64::consts::TAU / 10.0).sin() + row as f64 / 100.0
            )
        };
        written(&format!("row,value\n{}", (0..100).map(row).collect::<String>()))
    }

    #[test]
    fn it_conforms() -> Result<()> {
        let folder = wave()?;
        let task = Forecast::open(&folder.0.join("made.csv"), None, 5, 10)?;
        conforms(&task)?;
        assert_eq!((task.examples(), task.held_out()), (Some(65), 15));
        assert_eq!(
            task.validation_split().map(|task| (task.examples(), task.held_out())),
            Some((Some(65), 15))
        );
        Ok(())
    }

    #[test]
    fn splits_are_apart_and_windows_reach_back() -> Result<()> {
        let folder = wave()?;
        let task = Forecast::open(&folder.0.join("made.csv"), Some("row"), 5, 10)?;
        let rows = |task: &dyn Task| -> Result<Vec<f64>> {
            let batch = task.batch(test_key(1, 0, 100), DType::F64, &Device::Cpu)?;
            let (xs, targets) = (
                batch.xs.values().squeeze(2)?.to_vec2::<f64>()?,
                batch.targets.squeeze(1)?.to_vec1::<f64>()?,
            );
            let (mean, deviation) = (34.5, (69f64 * 71.0 / 12.0).sqrt());
            let row = |x: f64| (x * deviation + mean).round();
            for (window, target) in xs.iter().zip(&targets) {
                let expected: Vec<_> =
                    (1..=5).rev().map(|lag| row(*target) - f64::from(lag)).collect();
                assert_eq!(window.iter().map(|&x| row(x)).collect::<Vec<_>>(), expected);
            }
            Ok(targets.into_iter().map(row).collect())
        };
        assert!(rows(&task)?.into_iter().eq((85..100).map(f64::from)));
        assert!(rows(task.validation_split().expect("it has some").as_ref())?
            .into_iter()
            .eq((70..85).map(f64::from)));
        Ok(())
    }

    #[test]
    fn the_naive_forecast_is_the_value_one_season_before() -> Result<()> {
        let folder = wave()?;
        let task = |season| Forecast::open(&folder.0.join("made.csv"), None, 5, season);
        let loss =
            |season| -> Result<f64> { Ok(task(season)?.reference().expect("it has one").loss) };
        // One period later the wave is the same, and the slope adds 0.1.
        let values: Vec<f64> = (0..70)
            .map(|row| {
                (f64::from(row) * std::f64::consts::TAU / 10.0).sin() + f64::from(row) / 100.0
            })
            .collect();
        let mean = values.iter().sum::<f64>() / 70.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 70.0;
        assert!((loss(10)? - 0.01 / variance).abs() < 1e-12);
        assert!(loss(10)? < loss(1)? && loss(1)? < loss(5)?);
        assert_eq!(
            task(10)?.reference().map(|reference| reference.name),
            Some("seasonal naive, season 10".into())
        );
        Ok(())
    }

    #[test]
    fn errors_name_the_line() -> Result<()> {
        let rows = "1,2,3\n".repeat(20);
        let error = |text: &str, column, window, code| -> Result<String> {
            let folder = written(text)?;
            let error = Forecast::open(&folder.0.join("made.csv"), column, window, 1)
                .expect_err("must fail");
            assert_eq!(1 + u8::from(error.is_config()), code, "{error:#}");
            Ok(format!("{error:#}").replace(&folder.0.display().to_string(), "DIR"))
        };
        for (text, column, window, code, expected) in [
            (
                "",
                None,
                5,
                1,
                "DIR/made.csv: expected a first row with the names of the columns, found an empty \
                 file",
            ),
            (
                "a,b,c\n1,2,3\n",
                None,
                5,
                2,
                "forecast column: expected --column with one of a, b, c, got none",
            ),
            ("a,b,c\n1,2,3\n", Some("d"), 5, 2, "forecast column d: no such column; there are a, \
                b, c"),
            (
                "a,b,c\n1,2,3\n1,,3\n",
                Some("b"),
                5,
                1,
                "DIR/made.csv:3: column b: expected a number, found a missing value (\"\")",
            ),
            (
                "a,b,c\n1,NA,3\n",
                Some("b"),
                5,
                1,
                "DIR/made.csv:2: column b: expected a number, found a missing value (\"NA\")",
            ),
            (
                "a,b,c\n1,x,3\n",
                Some("b"),
                5,
                1,
                "DIR/made.csv:2: column b: expected a finite number, found \"x\"",
            ),
            (
                "a,b,c\n1,inf,3\n",
                Some("b"),
                5,
                1,
                "DIR/made.csv:2: column b: expected a finite number, found \"inf\"",
            ),
            (
                "a,b,c\n1,2\n",
                Some("b"),
                5,
                1,
                "DIR/made.csv:2: expected 3 fields as in the first row, found 2",
            ),
            (
                "a\n1\n2\n",
                None,
                5,
                1,
                "DIR/made.csv: expected at least 20 rows for windows of 5 and a season of 1, found \
                 2",
            ),
            (
                "1,2\n3,4\n",
                None,
                5,
                1,
                "DIR/made.csv: expected a first row with the names of the columns, found numbers: \
                 1,2",
            ),
            ("a,a,b\n1,2,3\n", Some("a"), 5, 2, "forecast column a: there are 2 columns of this \
                name"),
            ("a\n\"1\n2\n", None, 5, 1, "DIR/made.csv:2: column a: expected a finite number, found \
                \"1 …\""),
            (
                &format!("a\n{}", "1e308\n-1e308\n".repeat(20)),
                None,
                5,
                1,
                "DIR/made.csv: expected values whose variance is finite, found larger ones",
            ),
            (
                "a\n1\n2\n",
                None,
                usize::MAX,
                2,
                "forecast length: expected 1 to 10000000, got 18446744073709551615",
            ),
            ("a\n1\n2\n", None, 0, 2, "forecast length: expected 1 to 10000000, got 0"),
            (
                &format!("a,b,c\n{rows}"),
                Some("b"),
                5,
                1,
                "DIR/made.csv: expected values that differ, found 2 in the first 14 rows",
            ),
        ] {
            assert_eq!(error(text, column, window, code)?, expected);
        }
        let missing = Forecast::open(Path::new("not/there.csv"), None, 5, 1);
        let missing = line(&missing.expect_err("must fail"));
        assert_eq!(missing, "data not/there.csv: no such file or folder");
        Ok(())
    }
}
