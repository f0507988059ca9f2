//! Forecasting of a column of a CSV file.

use super::input::{checksum, excerpt, read_text};
use crate::draw::{tensor, LONGEST};
use crate::loss;
use crate::splits::Splits;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Reference, Task, TaskConfig};
use crate::usage::mistake;
use anyhow::{bail, ensure, Result};
use candle::{DType, Device, Tensor};
use recurrent_core::Sequence;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "forecast";

/// The window if none is given.
pub(crate) const WINDOW: usize = 48;

/// One-step-ahead forecasting of a column of a CSV file whose rows are in the order of time: from the last T values to the next.
///
/// The values are standardised by mean and deviation of the first 70 % of the rows. The network is trained to forecast each of these (but the first T); the last
/// 15 % are held out, and the 15 % between are what [`Task::validation_split`] holds out instead. A window may reach back before the part that its target lies in,
/// as it would in use.
///
/// The loss is the squared error in units of that variance. The best answer that does not look at the input is the mean of the first 70 %.
/// The [reference](Task::reference) is the seasonal naive forecast (Hyndman and Athanasopoulos 2021, section 5.2), the value one season before, on the same rows; with a season of 1 it is the
/// last value.
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
    /// Reads the column called `column` of the CSV file `data`, whose first row has the names; of a file with one or two columns it is the last
    /// if none is named. `window` is T, `season` that of the naive forecast, both in rows.
    ///
    /// # Errors
    /// A [`Usage`](crate::usage::Usage) error if window or season are not 1 to 10,000,000, or there is no such column, or two. Others if the file cannot be read, with its line: if a value is missing or
    /// is no finite number, or a row has another number of fields; if there are too few rows, or all values to train on are alike.
    pub fn open(data: &Path, column: Option<&str>, window: usize, season: usize) -> Result<Self> {
        for (name, count) in [("length", window), ("season", season)] {
            if !(1..=LONGEST).contains(&count) {
                mistake!("{NAME} {name}: expected 1 to {LONGEST}, got {count}");
            }
        }
        let values = read(data, column)?;
        let (rows, fewest) = (values.len(), 10 + 2 * window.max(season));
        let path = data.display();
        ensure!(rows >= fewest, "{path}: expected at least {fewest} rows for windows of {window} and a season of {season}, found {rows}");
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

/// The values of a column.
fn read(path: &Path, column: Option<&str>) -> Result<Vec<f64>> {
    let shown = path.display();
    let text = read_text(path)?;
    let mut records = records(&text).into_iter();
    let Some((_, names)) = records.next() else {
        bail!("{shown}: expected a first row with the names of the columns, found an empty file")
    };
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        bail!(
            "{shown}: expected a first row with the names of the columns, found numbers: {}",
            excerpt(&names.join(","))
        )
    }
    let named = |column: &str| names.iter().filter(|name| *name == column).count();
    let index = match (column, names.len()) {
        (Some(column), _) if named(column) > 1 => {
            mistake!("{NAME} column {column}: there are {} columns of this name", named(column))
        }
        (None, 1 | 2) => names.len() - 1,
        (None, _) => {
            mistake!("{NAME} column: expected --column with one of {}, got none", names.join(", "))
        }
        (Some(column), _) => match names.iter().position(|name| *name == column) {
            Some(index) => index,
            None => {
                mistake!("{NAME} column {column}: no such column; there are {}", names.join(", "))
            }
        },
    };
    let mut values = Vec::new();
    for (line, fields) in records {
        let (expected, found) = (names.len(), fields.len());
        ensure!(
            found == expected,
            "{shown}:{line}: expected {expected} fields as in the first row, found {found}"
        );
        let (field, name) = (&fields[index], &names[index]);
        match field.parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ if ["", "na", "nan", "null"].contains(&field.to_lowercase().as_str()) => {
                bail!("{shown}:{line}: column {name}: expected a number, found a missing value ({field:?})")
            }
            _ => bail!(
                "{shown}:{line}: column {name}: expected a finite number, found {:?}",
                excerpt(field)
            ),
        }
    }
    Ok(values)
}

/// The records of a CSV file (RFC 4180, any end of line), each with the number of the line in which it begins; empty lines are none.
fn records(text: &str) -> Vec<(u64, Vec<String>)> {
    let (mut reader, mut rest, mut records) =
        (csv_core::Reader::new(), text.as_bytes(), Vec::new());
    // No record is longer than the whole, or has more fields than bytes.
    let (mut fields, mut ends) = (vec![0; text.len() + 1], vec![0; text.len() + 2]);
    loop {
        let before = rest.len();
        let breaks = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\n' | b'\r'))
            .filter(|&&byte| byte == b'\n')
            .count();
        let line = reader.line() + breaks as u64;
        let (mut written, mut ended) = (0, 0);
        loop {
            let (result, read, wrote, found) =
                reader.read_record(rest, &mut fields[written..], &mut ends[ended..]);
            rest = &rest[read..];
            (written, ended) = (written + wrote, ended + found);
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::Record => break,
                _ => return records, // the end
            }
        }
        let starts = std::iter::once(0).chain(ends[..ended].iter().copied());
        let field = |(start, &end): (usize, &usize)| {
            String::from_utf8_lossy(&fields[start..end]).trim().to_string()
        };
        records.push((line, starts.zip(&ends[..ended]).map(field).collect()));
        debug_assert!(rest.len() < before || rest.is_empty(), "a record takes bytes");
    }
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
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        ensure!(draw.batch > 0, "{NAME} batch: expected at least 1 example, got 0");
        let rows = self.splits.batch(NAME, draw);
        let xs: Vec<_> =
            rows.iter().flat_map(|&row| &self.values[row - self.window..row]).copied().collect();
        let targets: Vec<_> = rows.iter().map(|&row| self.values[row]).collect();
        let xs = tensor(xs, (rows.len(), self.window, 1), dtype, device)?;
        Ok(Batch {
            xs: Sequence::new(xs)?,
            targets: tensor(targets, (rows.len(), 1), dtype, device)?,
        })
    }

    /// The squared error; it has no accuracy.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        loss::squared_error(NAME, outputs, batch, None)
    }

    /// The mean square of the held-out values: that of forecasting the mean of those to train on.
    fn baseline(&self) -> f64 {
        self.mean_square(|row| self.values[row])
    }

    /// None.
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
    /// The mean of the square of an error over the held-out rows.
    fn mean_square(&self, error: impl Fn(usize) -> f64) -> f64 {
        let held = self.splits.test();
        held.iter().map(|&row| error(row).powi(2)).sum::<f64>() / held.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use crate::tests::{conforms, held};
    use crate::usage::exit_code;
    use std::fs;

    fn written(text: &str) -> Result<Folder> {
        let folder = Folder::new()?;
        fs::write(folder.0.join("made.csv"), text)?;
        Ok(folder)
    }

    /// A hundred rows: their number, and a wave of period 10 on a slope.
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
    fn parts_are_apart_and_windows_reach_back() -> Result<()> {
        let folder = wave()?;
        let task = Forecast::open(&folder.0.join("made.csv"), Some("row"), 5, 10)?;
        let rows = |task: &dyn Task| -> Result<Vec<f64>> {
            let batch = task.batch(held(1, 0, 100), DType::F64, &Device::Cpu)?;
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
    fn the_naive_forecast_is_that_of_one_season_before() -> Result<()> {
        let folder = wave()?;
        let task = |season| Forecast::open(&folder.0.join("made.csv"), None, 5, season);
        let loss =
            |season| -> Result<f64> { Ok(task(season)?.reference().expect("it has one").loss) };
        // Of the wave nothing is left after a period, and the slope adds 0.1.
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
    fn what_is_wrong_is_named_with_its_line() -> Result<()> {
        let rows = "1,2,3\n".repeat(20);
        let error = |text: &str, column, window, code| -> Result<String> {
            let folder = written(text)?;
            let error = Forecast::open(&folder.0.join("made.csv"), column, window, 1)
                .expect_err("must fail");
            assert_eq!(exit_code(&error), code, "{error:#}");
            Ok(format!("{error:#}").replace(&folder.0.display().to_string(), "DIR"))
        };
        for (text, column, window, code, expected) in [
            (
                "",
                None,
                5,
                1,
                "DIR/made.csv: expected a first row with the names of the columns, found an empty file",
            ),
            (
                "a,b,c\n1,2,3\n",
                None,
                5,
                2,
                "forecast column: expected --column with one of a, b, c, got none",
            ),
            ("a,b,c\n1,2,3\n", Some("d"), 5, 2, "forecast column d: no such column; there are a, b, c"),
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
                "DIR/made.csv: expected at least 20 rows for windows of 5 and a season of 1, found 2",
            ),
            (
                "1,2\n3,4\n",
                None,
                5,
                1,
                "DIR/made.csv: expected a first row with the names of the columns, found numbers: 1,2",
            ),
            ("a,a,b\n1,2,3\n", Some("a"), 5, 2, "forecast column a: there are 2 columns of this name"),
            ("a\n\"1\n2\n", None, 5, 1, "DIR/made.csv:2: column a: expected a finite number, found \"1 …\""),
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
        let missing = Forecast::open(Path::new("not/there.csv"), None, 5, 1)
            .expect_err("must fail")
            .to_string();
        assert!(missing.starts_with("not/there.csv: "), "{missing}");
        Ok(())
    }
}
