//! Character-level language modelling of any text.

use super::input::{checksum, data_file, read_text};
use super::ngram::Ngrams;
use crate::draw::{check_length, one_hot};
use crate::error::{bail, ensure, Result};
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Reference, Split, Task};
use crate::usage::bail_config;
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::{named_rng, Sequence};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "text";

/// The default window.
pub(crate) const WINDOW: usize = 100;

/// The least number of characters of a text.
const FEWEST: usize = 1000;

/// The number of strands in which the test split is read.
const STRANDS: usize = 10;

/// Character-level language modelling: the network predicts the next character at every character.
///
/// The symbols are all characters of the file, one-hot. The first 90 % of the text are the training
/// split and the last 5 % the test split. The 5 % between them replace the test split in
/// [`Task::validation_split`] (the split of text8 in Bai, Kolter and Koltun 2018,
/// arXiv:1803.01271).
///
/// A split is cut into parallel strands, one per example of a batch. A batch is the next window of
/// T characters of each strand. The state of the network is carried from window to window, see
/// [`Task::is_stateful`], and is reset at every epoch. So every prediction depends on all previous
/// characters of the strand, while gradients stop at the border of a window. In training, an epoch
/// starts at one of the first T characters, drawn from the seed and the number of the epoch. The
/// test split is read in ten strands; characters after the last whole window of a strand are
/// omitted.
///
/// The loss is the cross entropy in **bits per character**, the accuracy the share of characters
/// predicted correctly. The baseline is that of the character frequencies in the training split.
/// The [reference](Task::reference) is an interpolated n-gram model (Witten and Bell 1991) of the
/// training split, evaluated on the same held-out characters. Its order, 1 to 6, is the one with
/// the fewest bits on the validation split.
///
/// In a Project Gutenberg file, only the text between the lines that begin with `*** START OF` and
/// `*** END OF` is used. A byte order mark is ignored.
#[derive(Clone, Debug)]
pub struct Text {
    window: usize,
    text: Arc<[u32]>,
    symbols: Arc<[char]>,
    train: Range<usize>,
    test: Range<usize>,
    validation: Range<usize>,
    /// For the test split and for the validation split.
    references: [Reference; 2],
}

/// The arrangement of a split in parallel strands: `rows` strands of `length` characters, with
/// `windows` windows each.
struct Strands {
    start: usize,
    rows: usize,
    length: usize,
    windows: u64,
}

impl Text {
    /// Reads the file `data`; `window` is T.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) if the window is not 2 to 10,000,000. Others if
    /// the file cannot be read, is not UTF-8, or is too short.
    pub fn open(data: &Path, window: usize) -> Result<Self> {
        data_file(data)?;
        let text = read_text(data)?;
        Self::new(&text, window).map_err(|error| error.within(data.display()))
    }

    /// The task over a text.
    ///
    /// # Errors
    /// As [`Text::open`].
    pub fn new(text: &str, window: usize) -> Result<Self> {
        check_length(NAME, window, 2)?;
        let text = body(text.trim_start_matches('\u{feff}'));
        let symbols: BTreeSet<char> = text.chars().collect();
        let symbols: Vec<char> = symbols.into_iter().collect();
        let number =
            |c: char| symbols.binary_search(&c).expect("it was collected from the text") as u32;
        let text: Vec<u32> = text.chars().map(number).collect();
        // a window in each strand of a twentieth
        let fewest = FEWEST.max(20 * STRANDS * (window + 1));
        ensure!(
            text.len() >= fewest,
            "expected a text of at least {fewest} characters for windows of {window}, found {}",
            text.len()
        );
        ensure!(symbols.len() > 1, "expected at least 2 different characters, found 1");
        let (first, second) = (text.len() * 90 / 100, text.len() * 95 / 100);
        let mut task = Self {
            window,
            train: 0..first,
            test: second..text.len(),
            text: text.into(),
            symbols: symbols.into(),
            validation: first..second,
            references: [(); 2].map(|()| Reference { name: String::new(), loss: f64::NAN }),
        };
        task.references = task.ngrams();
        Ok(task)
    }

    /// The bits of the n-gram model on the test split and on the validation split. Its order is the
    /// best one on the validation split.
    fn ngrams(&self) -> [Reference; 2] {
        let ngrams = Ngrams::new(&self.text[self.train.clone()], self.symbols.len());
        let bits = |split: &Range<usize>| ngrams.bits(&self.text, self.targets(split));
        let (test, validation) = (bits(&self.test), bits(&self.validation));
        let best = (0..validation.len())
            .min_by(|&a, &b| validation[a].total_cmp(&validation[b]))
            .unwrap_or(0);
        [test[best], validation[best]]
            .map(|loss| Reference { name: format!("{}-gram", best + 1), loss })
    }

    /// The characters, by the number of their symbol.
    pub fn symbols(&self) -> &[char] {
        &self.symbols
    }

    /// The numbers of the symbols of `text`.
    ///
    /// # Errors
    /// A [`ConfigError`](crate::usage::ConfigError) if it is empty or has a character that is not among the symbols.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>> {
        if text.is_empty() {
            bail_config!("expected at least 1 character, got none");
        }
        let number = |c: char| match self.symbols.binary_search(&c) {
            Ok(number) => Ok(number),
            Err(_) => bail_config!("{c:?} is not in the text"),
        };
        text.chars().map(number).collect()
    }

    /// Symbols as the input of a network: `(1, time, input)`, one-hot.
    ///
    /// # Errors
    /// If there are none, or a number is not that of a symbol.
    pub fn input(&self, symbols: &[usize], dtype: DType, device: &Device) -> Result<Sequence> {
        let known = self.symbols.len();
        if let Some(other) = symbols.iter().find(|&&symbol| symbol >= known) {
            bail!("{NAME} input: expected symbols below {known}, got {other}");
        }
        Ok(Sequence::new(one_hot(&[symbols.to_vec()], known, dtype, device)?)?)
    }

    /// Draws a symbol from the distribution softmax(logits / temperature). `logits` is `(symbols)`.
    ///
    /// # Errors
    /// If `logits` has another rank or no element.
    pub fn sample(logits: &Tensor, temperature: f64, rng: &mut impl Rng) -> Result<usize> {
        let logits = logits.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |logit: &f64| ((logit - largest) / temperature).exp();
        let weights: Vec<f64> = logits.iter().map(weight).collect();
        let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
        let passed = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        match (passed, weights.len()) {
            (Some(symbol), _) => Ok(symbol),
            (None, 0) => bail!("{NAME} sample: expected at least 1 logit, got none"),
            (None, symbols) => Ok(symbols - 1), // rounding
        }
    }

    /// The length of each strand of a split.
    fn strand_length(split: &Range<usize>, strands: usize) -> usize {
        split.len() / strands
    }

    /// The strands of a batch. The last target is the character after the last window. A test split
    /// that is too short for one window per strand is read in fewer strands.
    fn strands(&self, key: BatchKey) -> Strands {
        let (split, spare) = match key.split {
            Split::Train => (&self.train, self.window),
            Split::Test => (&self.test, 1),
        };
        let rows = match key.split {
            Split::Train => key.batch,
            Split::Test => key.batch.min(split.len() / (self.window + 1)),
        };
        let length = Self::strand_length(split, rows.max(1));
        let windows = (length.saturating_sub(spare) / self.window) as u64;
        Strands { start: split.start, rows, length, windows }
    }

    /// The positions of all characters of a split that an evaluation predicts.
    fn targets(&self, split: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let strand = Self::strand_length(split, STRANDS);
        let count = (strand - 1) / self.window * self.window;
        let start = split.start;
        (0..STRANDS).flat_map(move |row| (1..=count).map(move |step| start + row * strand + step))
    }
}

/// The text between the marks of Project Gutenberg, or all of it without them.
fn body(text: &str) -> &str {
    let line =
        |mark: &str| text.find(mark).filter(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n');
    match (line("*** START OF"), line("*** END OF")) {
        (Some(start), Some(end)) if start < end => {
            let after = text[start..].find('\n').map_or(end, |length| start + length + 1);
            text[after.min(end)..end].trim()
        }
        _ => text,
    }
}

impl Task for Text {
    fn name(&self) -> &'static str {
        NAME
    }

    /// T.
    fn length(&self) -> usize {
        self.window
    }

    /// T - 1: gradients stop at the border of a window.
    fn longest_lag(&self) -> usize {
        self.window - 1
    }

    fn input_size(&self) -> usize {
        self.symbols.len()
    }

    fn output_size(&self) -> usize {
        self.symbols.len()
    }

    fn loss_target(&self) -> LossTarget {
        LossTarget::Every
    }

    /// The targets are the numbers of characters, `(batch, time)` in u32.
    fn batch(&self, key: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let Strands { start, rows, length, windows } = self.strands(key);
        ensure!(
            rows > 0 && windows > 0,
            "{NAME} batch: expected 1 to {} strands with a window each, got {}",
            self.train.len() / (2 * self.window),
            key.batch
        );
        let (epoch, window) = (key.step / windows, (key.step % windows) as usize);
        let shift = match key.split {
            Split::Train => {
                named_rng(key.seed, &format!("train/{NAME}/{epoch}")).random_range(0..self.window)
            }
            Split::Test => 0,
        };
        let start = |row: usize| start + row * length + shift + window * self.window;
        let examples: Vec<Vec<usize>> = (0..rows)
            .map(|row| {
                self.text[start(row)..start(row) + self.window]
                    .iter()
                    .map(|&symbol| symbol as usize)
                    .collect()
            })
            .collect();
        let targets: Vec<u32> = (0..rows)
            .flat_map(|row| self.text[start(row) + 1..=start(row) + self.window].iter().copied())
            .collect();
        Ok(Batch {
            xs: Sequence::new(one_hot(&examples, self.symbols.len(), dtype, device)?)?,
            targets: Tensor::from_vec(targets, (rows, self.window), device)?,
        })
    }

    /// The cross entropy in bits, and the share of characters predicted correctly.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let metrics = loss::cross_entropy(NAME, outputs, batch, self.symbols.len(), self.window)?;
        Ok(Metrics { losses: (metrics.losses / std::f64::consts::LN_2)?, ..metrics })
    }

    /// In bits: the cross entropy of the character frequencies of the training split. Characters
    /// that do not occur there count as one occurrence.
    fn baseline(&self) -> f64 {
        let mut counts = vec![0usize; self.symbols.len()];
        self.text[self.train.clone()].iter().for_each(|&symbol| counts[symbol as usize] += 1);
        let all: usize = counts.iter().map(|&count| count.max(1)).sum();
        let bits =
            |place: usize| -(counts[self.text[place] as usize].max(1) as f64 / all as f64).log2();
        let (sum, count) = self
            .targets(&self.test)
            .fold((0.0, 0), |(sum, count), place| (sum + bits(place), count + 1));
        sum / f64::from(count)
    }

    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        let symbols = self.symbols.iter().map(|&symbol| u32::from(symbol));
        Some(checksum(symbols.chain(self.text.iter().copied()).map(u32::to_le_bytes)))
    }

    /// The number of windows in the training split.
    fn examples(&self) -> Option<usize> {
        Some(self.train.len() / self.window)
    }

    /// The number of windows in the test split.
    fn held_out(&self) -> usize {
        STRANDS * ((Self::strand_length(&self.test, STRANDS) - 1) / self.window)
    }

    /// One window of each strand.
    fn eval_batch(&self) -> usize {
        STRANDS
    }

    fn is_validation(&self) -> bool {
        self.test.start < self.validation.start
    }

    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        let mut task = self.clone();
        std::mem::swap(&mut task.test, &mut task.validation);
        task.references.reverse();
        Some(Arc::new(task))
    }

    /// True for all but the first window of an epoch.
    fn is_stateful(&self, key: BatchKey) -> bool {
        let windows = self.strands(key).windows;
        windows > 0 && !key.step.is_multiple_of(windows)
    }

    /// The n-gram model, in bits.
    fn reference(&self) -> Option<Reference> {
        Some(self.references[0].clone())
    }
}

#[cfg(test)]
mod tests;
