//! Files of the UEA and UCR archives of time series, `.ts`.

use super::input::{data_at, excerpt, read_text};
use crate::error::{bail, ensure, Error, Result};
use crate::usage::bail_config;
use std::path::{Path, PathBuf};

/// The series and labels of one file.
#[derive(Debug)]
pub(super) struct Series {
    /// The number of dimensions of every series.
    pub(super) dimensions: usize,
    /// The names of the classes.
    pub(super) classes: Vec<String>,
    /// The values of every series, `(step, dimension)`.
    pub(super) values: Vec<Vec<f32>>,
    /// The class of every series, as a position in `classes`.
    pub(super) labels: Vec<usize>,
}

impl Series {
    /// The number of steps of a series.
    pub(super) fn steps(&self, series: usize) -> usize {
        self.values[series].len() / self.dimensions
    }
}

/// The training and test files of a data set. `data` is the training file `NAME_TRAIN.ts` or its
/// folder. If the folder contains several training files, the one with the folder's name is taken.
pub(super) fn files(data: &Path) -> Result<[PathBuf; 2]> {
    let train = if data_at(data)?.is_dir() { in_folder(data)? } else { data.to_path_buf() };
    let name =
        train.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(TRAIN) else {
        bail_config!("data {}: expected a folder or a file NAME{TRAIN}", data.display())
    };
    let test = train.with_file_name(format!("{stem}_TEST.ts"));
    for path in [&train, &test] {
        ensure!(path.is_file(), "{}: expected a file, found none", path.display());
    }
    Ok([train, test])
}

const TRAIN: &str = "_TRAIN.ts";

fn in_folder(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let entry = entry.map_err(|error| Error::io(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(TRAIN) {
            found.push(name);
        }
    }
    found.sort();
    let own = folder.file_name().map(|name| format!("{}{TRAIN}", name.to_string_lossy()));
    match (found.as_slice(), own.filter(|own| found.contains(own))) {
        (_, Some(own)) => Ok(folder.join(own)),
        ([one], None) => Ok(folder.join(one)),
        ([], None) => bail!("{}: expected a file NAME{TRAIN}, found none", folder.display()),
        (several, None) => {
            bail!(
                "{}: expected one file NAME{TRAIN}, found {}",
                folder.display(),
                several.join(", ")
            )
        }
    }
}

/// The header of a file.
#[derive(Default)]
struct Header {
    dimensions: Option<usize>,
    length: Option<usize>,
    classes: Option<Vec<String>>,
}

impl Header {
    /// Parses a line that begins with `@`. Returns whether it is the last one, `@data`.
    fn parse_line(&mut self, line: &str) -> Result<bool> {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default().to_lowercase();
        let words: Vec<_> = words.collect();
        let value = words.first().copied().unwrap_or_default();
        let yes = value.eq_ignore_ascii_case("true");
        let number = || value.parse().ok().filter(|&number: &usize| number > 0);
        match key.as_str() {
            "@data" => return Ok(true),
            "@timestamps" if yes => {
                bail!("expected series without time stamps, found @timeStamps true")
            }
            "@missing" if yes => {
                bail!("expected series without missing values, found @missing true")
            }
            "@targetlabel" if yes => {
                bail!("expected classes, found @targetLabel true, which is regression")
            }
            "@univariate" if yes => self.dimensions = Some(1),
            "@dimensions" | "@dimension" => {
                let Some(number) = number() else {
                    bail!("expected @dimensions and a number, found {value:?}")
                };
                self.dimensions = Some(number);
            }
            "@serieslength" => {
                let Some(number) = number() else {
                    bail!("expected @seriesLength and a number, found {value:?}")
                };
                self.length = Some(number);
            }
            "@classlabel" => {
                ensure!(
                    yes && words.len() > 2,
                    "expected @classLabel true and at least two classes, found {line:?}"
                );
                let classes: Vec<String> =
                    words[1..].iter().map(|class| class.to_string()).collect();
                let twice =
                    (1..classes.len()).find(|&place| classes[..place].contains(&classes[place]));
                if let Some(place) = twice {
                    bail!("expected classes that differ, found {} twice", classes[place])
                }
                self.classes = Some(classes);
            }
            "@problemname" | "@timestamps" | "@missing" | "@univariate" | "@equallength"
            | "@targetlabel" => {}
            other => bail!("expected a line of the header of a .ts file, found {other}"),
        }
        Ok(false)
    }
}

/// Reads a file. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// With the file and the line: if the header is malformed or has no classes; if it uses time
/// stamps, missing values or regression, which are not supported; if a series has a different
/// number of dimensions, dimensions of different lengths, a value that is not a finite number, or a
/// label that the header does not list.
pub(super) fn read(path: &Path) -> Result<Series> {
    parse(&read_text(path)?, &path.display().to_string())
}

fn parse(text: &str, path: &str) -> Result<Series> {
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut header = Header::default();
    loop {
        let Some((number, line)) = lines.next() else {
            bail!("{path}: expected @data, found the end of the file")
        };
        ensure!(
            line.starts_with('@'),
            "{path}:{number}: expected the header's @data before any series, found {:?}",
            excerpt(line)
        );
        if header
            .parse_line(line)
            .map_err(|error| Error::data(format!("{path}:{number}: {error}")))?
        {
            break;
        }
    }
    let Some(classes) = header.classes.take() else {
        bail!("{path}: expected @classLabel in the header, found none")
    };
    let mut series = Series {
        dimensions: header.dimensions.unwrap_or(0),
        classes,
        values: vec![],
        labels: vec![],
    };
    for (number, line) in lines {
        series
            .push_line(line, header.length)
            .map_err(|error| Error::data(format!("{path}:{number}: {error}")))?;
    }
    ensure!(
        !series.values.is_empty(),
        "{path}: expected at least 1 series after @data, found none"
    );
    Ok(series)
}

impl Series {
    /// Parses the line of one series: its dimensions and its label, separated by colons.
    fn push_line(&mut self, line: &str, length: Option<usize>) -> Result<()> {
        let mut parts: Vec<&str> = line.split(':').collect();
        let label = parts.pop().unwrap_or_default().trim();
        if self.dimensions == 0 {
            self.dimensions = parts.len(); // not in the header: the first series decides
        }
        let expected = self.dimensions;
        ensure!(
            !parts.is_empty() && parts.len() == expected,
            "expected {expected} dimensions and a label, found {}",
            parts.len()
        );
        let Some(label) = self.classes.iter().position(|class| class == label) else {
            bail!("expected one of the labels {}, found {label:?}", self.classes.join(" "))
        };
        let dimensions: Vec<Vec<f32>> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| values(index, part))
            .collect::<Result<_>>()?;
        let steps = length.unwrap_or(dimensions[0].len());
        if let Some(index) = dimensions.iter().position(|values| values.len() != steps) {
            bail!(
                "dimension {}: expected {steps} values, found {}",
                index + 1,
                dimensions[index].len()
            )
        }
        self.values.push(
            (0..steps).flat_map(|step| dimensions.iter().map(move |values| values[step])).collect(),
        );
        self.labels.push(label);
        Ok(())
    }
}

/// The values of one dimension.
fn values(index: usize, part: &str) -> Result<Vec<f32>> {
    let value = |(place, word): (usize, &str)| match word.trim().parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ if word.trim() == "?" => {
            bail!("dimension {}, value {}: missing (?)", index + 1, place + 1)
        }
        _ => bail!(
            "dimension {}, value {}: expected a finite number, found {:?}",
            index + 1,
            place + 1,
            excerpt(word)
        ),
    };
    part.split(',').enumerate().map(value).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use anyhow::Result;

    /// A header with two dimensions and the classes `a` and `b`; the series begin at line 6.
    pub(crate) const HEADER: &str =
        "# made up\n@problemName Made\n@dimensions 2\n@classLabel true a b\n@data\n";

    #[test]
    fn series_of_unequal_lengths_are_read() -> Result<()> {
        let text = format!("{HEADER}1,2,3:4,5,6:a\n\n-1e-1 , 2 :0,1: b\n");
        let series = parse(&text, "x.ts")?;
        assert_eq!(series.values, [vec![1., 4., 2., 5., 3., 6.], vec![-0.1, 0., 2., 1.]]);
        assert_eq!((series.labels, series.dimensions), (vec![0, 1], 2));
        let series =
            parse("@univariate true\n@SeriesLength 2\n@ClassLabel true 1 2\n@DATA\n1,2:2", "x.ts")?;
        assert_eq!(
            (series.values, series.labels, series.dimensions),
            (vec![vec![1., 2.]], vec![1], 1)
        );
        Ok(())
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("", "x.ts: expected @data, found the end of the file"),
            ("# nothing", "x.ts: expected @data, found the end of the file"),
            (
                "one line of text",
                "x.ts:1: expected the header's @data before any series, found \"one line of text\"",
            ),
            ("@relation x", "x.ts:1: expected a line of the header of a .ts file, found @relation"),
            (
                "\n@timeStamps true",
                "x.ts:2: expected series without time stamps, found @timeStamps \
                true",
            ),
            (
                "@missing true",
                "x.ts:1: expected series without missing values, found @missing true",
            ),
            (
                "@targetlabel true",
                "x.ts:1: expected classes, found @targetLabel true, which is \
                regression",
            ),
            ("@dimensions many", "x.ts:1: expected @dimensions and a number, found \"many\""),
            (
                "@classLabel false",
                "x.ts:1: expected @classLabel true and at least two classes, found \"@classLabel \
                 false\"",
            ),
            ("@classLabel true a b a", "x.ts:1: expected classes that differ, found a twice"),
            ("@problemName x\n@data", "x.ts: expected @classLabel in the header, found none"),
            (
                "@classLabel true a b\n@data\n",
                "x.ts: expected at least 1 series after @data, found \
                none",
            ),
            (
                "@classLabel true a b\n@seriesLength 3\n@data\n1,2:a",
                "x.ts:4: dimension 1: expected 3 values, found 2",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, "x.ts").expect_err("must fail").to_string(), expected);
        }
        for (line, expected) in [
            ("1,2:a", "expected 2 dimensions and a label, found 1"),
            ("1,2", "expected 2 dimensions and a label, found 0"),
            ("1,2:3,4:5,6:a", "expected 2 dimensions and a label, found 3"),
            ("1,2:3:a", "dimension 2: expected 2 values, found 1"),
            ("1,2:3,4:c", "expected one of the labels a b, found \"c\""),
            ("1,2:3,4:", "expected one of the labels a b, found \"\""),
            ("1,?:3,4:a", "dimension 1, value 2: missing (?)"),
            ("1,2:3,NaN:a", "dimension 2, value 2: expected a finite number, found \"NaN\""),
            ("1,2:,4:b", "dimension 2, value 1: expected a finite number, found \"\""),
        ] {
            let error = parse(&format!("{HEADER}1,2:3,4:a\n{line}\n"), "x.ts")
                .expect_err("must fail")
                .to_string();
            assert_eq!(error, format!("x.ts:7: {expected}"));
        }
    }
}
