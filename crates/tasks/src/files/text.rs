//! Character-level language modelling of any text.

use super::input::{checksum, read_text};
use super::ngram::Ngrams;
use crate::draw::{check_length, one_hot};
use crate::loss;
use crate::task::{Batch, BatchKey, Criterion, LossTarget, Metrics, Reference, Split, Task};
use anyhow::{ensure, Result};
use candle::{DType, Device, Tensor};
use rand::Rng;
use recurrent_core::{named_rng, Sequence};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "text";

/// The window if none is given.
pub(crate) const WINDOW: usize = 100;

/// Shorter texts are no texts.
const FEWEST: usize = 1000;

/// The held-out part is read in so many strands side by side.
const STRANDS: usize = 10;

/// Character-level language modelling: at every character of a text, the next is asked for.
///
/// The symbols are all characters that occur anywhere in the file, one-hot. The first 90 % of the text are trained on, the last 5 % are held out, and the 5 %
/// between are what [`Task::validation_split`] holds out instead (the split of text8 in Bai, Kolter and Koltun 2018, arXiv:1803.01271).
///
/// A part is cut into strands, as many as a batch has examples, which lie side by side; a batch is the next window of T characters of each of them. A network's
/// state is carried from window to window, see [`Task::is_stateful`], and begins anew with an epoch. So every character is predicted from all that came before
/// it in its strand, while gradients end at the border of a window. In training an epoch begins at one of the first T characters, drawn from
/// seed and epoch. Held-out text is read in ten strands; characters behind the last whole window of a strand are left out.
///
/// The loss is the cross entropy in **bits per character**, the accuracy the share of characters that are guessed. The baseline is that of the frequencies of characters in
/// the training part. The [reference](Task::reference) is an interpolated n-gram model (Witten and Bell 1991) of the same training part on the same held-out
/// characters, whose order, 1 to 6, is that with the fewest bits on the validation part.
///
/// Of a Project Gutenberg file only what lies between the lines that begin with `*** START OF` and `*** END OF` is taken; of all others, everything. A byte order mark is
/// left out.
#[derive(Clone, Debug)]
pub struct Text {
    window: usize,
    text: Arc<[u32]>,
    symbols: Arc<[char]>,
    train: Range<usize>,
    held: Range<usize>,
    validation: Range<usize>,
    /// Of the held-out part, and of the validation part.
    references: [Reference; 2],
}

/// How a part of the text lies side by side: so many strands of so many characters, each of so many windows, from a place on.
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
    /// A [`Usage`](crate::usage::Usage) error if the window has not at least 2 characters. Others if the file cannot be read, is not UTF-8, or too short.
    pub fn open(data: &Path, window: usize) -> Result<Self> {
        let text = read_text(data)?;
        Self::new(&text, window).map_err(|error| error.context(data.display().to_string()))
    }

    /// The task of a text.
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
        let fewest = FEWEST.max(20 * STRANDS * (window + 1)); // a window in each strand of the last twentieth
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
            held: second..text.len(),
            text: text.into(),
            symbols: symbols.into(),
            validation: first..second,
            references: [(); 2].map(|()| Reference { name: String::new(), loss: f64::NAN }),
        };
        task.references = task.ngrams();
        Ok(task)
    }

    /// The n-gram model whose order is best on the validation part: on the held-out part, and on the validation part.
    fn ngrams(&self) -> [Reference; 2] {
        let ngrams = Ngrams::new(&self.text[self.train.clone()], self.symbols.len());
        let on = |part: &Range<usize>| ngrams.bits(&self.text, self.asked(part));
        let (held, validation) = (on(&self.held), on(&self.validation));
        let best = (0..validation.len())
            .min_by(|&a, &b| validation[a].total_cmp(&validation[b]))
            .unwrap_or(0);
        [held[best], validation[best]]
            .map(|loss| Reference { name: format!("{}-gram", best + 1), loss })
    }

    /// The characters by their number.
    pub fn symbols(&self) -> &[char] {
        &self.symbols
    }

    /// The strands of a part: how long each is, of how many.
    fn strand(part: &Range<usize>, strands: usize) -> usize {
        part.len() / strands
    }

    /// How a part lies side by side in a batch; the last target lies one behind the last window. Held-out text is read in fewer strands than asked for if it has not
    /// a window for each.
    fn strands(&self, draw: BatchKey) -> Strands {
        let (part, spare) = match draw.split {
            Split::Train => (&self.train, self.window),
            Split::Test => (&self.held, 1),
        };
        let rows = match draw.split {
            Split::Train => draw.batch,
            Split::Test => draw.batch.min(part.len() / (self.window + 1)),
        };
        let length = Self::strand(part, rows.max(1));
        let windows = (length.saturating_sub(spare) / self.window) as u64;
        Strands { start: part.start, rows, length, windows }
    }

    /// The places of all characters of a part that an evaluation asks for.
    fn asked(&self, part: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let strand = Self::strand(part, STRANDS);
        let asked = (strand - 1) / self.window * self.window;
        let start = part.start;
        (0..STRANDS).flat_map(move |row| (1..=asked).map(move |step| start + row * strand + step))
    }
}

/// What lies between the marks of Project Gutenberg, or everything.
fn body(text: &str) -> &str {
    let line =
        |mark: &str| text.find(mark).filter(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n');
    match (line("*** START OF"), line("*** END OF")) {
        (Some(start), Some(end)) if start < end => {
            let behind = text[start..].find('\n').map_or(end, |length| start + length + 1);
            text[behind.min(end)..end].trim()
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

    /// T - 1: as far as gradients go.
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
    fn batch(&self, draw: BatchKey, dtype: DType, device: &Device) -> Result<Batch> {
        let Strands { start, rows, length, windows } = self.strands(draw);
        ensure!(
            rows > 0 && windows > 0,
            "{NAME} batch: expected 1 to {} strands with a window each, got {}",
            self.train.len() / (2 * self.window),
            draw.batch
        );
        let (epoch, window) = (draw.step / windows, (draw.step % windows) as usize);
        let shift = match draw.split {
            Split::Train => {
                named_rng(draw.seed, &format!("train/{NAME}/{epoch}")).random_range(0..self.window)
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

    /// The cross entropy in bits, and the share of characters that are right.
    fn evaluate(&self, outputs: &Tensor, batch: &Batch) -> Result<Metrics> {
        let judged = loss::cross_entropy(NAME, outputs, batch, self.symbols.len(), self.window)?;
        Ok(Metrics { losses: (judged.losses / std::f64::consts::LN_2)?, ..judged })
    }

    /// In bits: that of the frequencies in the training part, those never seen there counted as seen once.
    fn baseline(&self) -> f64 {
        let mut counts = vec![0usize; self.symbols.len()];
        self.text[self.train.clone()].iter().for_each(|&symbol| counts[symbol as usize] += 1);
        let all: usize = counts.iter().map(|&count| count.max(1)).sum();
        let bits =
            |place: usize| -(counts[self.text[place] as usize].max(1) as f64 / all as f64).log2();
        let (sum, count) = self
            .asked(&self.held)
            .fold((0.0, 0), |(sum, count), place| (sum + bits(place), count + 1));
        sum / f64::from(count)
    }

    /// None.
    fn criterion(&self) -> Option<Criterion> {
        None
    }

    fn checksum(&self) -> Option<String> {
        let symbols = self.symbols.iter().map(|&symbol| u32::from(symbol));
        Some(checksum(symbols.chain(self.text.iter().copied()).map(u32::to_le_bytes)))
    }

    /// The number of windows in the training part.
    fn examples(&self) -> Option<usize> {
        Some(self.train.len() / self.window)
    }

    /// The number of windows in the held-out part.
    fn held_out(&self) -> usize {
        STRANDS * ((Self::strand(&self.held, STRANDS) - 1) / self.window)
    }

    /// One window of each strand.
    fn eval_batch(&self) -> usize {
        STRANDS
    }

    fn is_validation(&self) -> bool {
        self.held.start < self.validation.start
    }

    fn validation_split(&self) -> Option<Arc<dyn Task>> {
        let mut task = self.clone();
        std::mem::swap(&mut task.held, &mut task.validation);
        task.references.reverse();
        Some(Arc::new(task))
    }

    /// All but the first window of an epoch.
    fn is_stateful(&self, draw: BatchKey) -> bool {
        let windows = self.strands(draw).windows;
        windows > 0 && !draw.step.is_multiple_of(windows)
    }

    /// The n-gram model, in bits.
    fn reference(&self) -> Option<Reference> {
        Some(self.references[0].clone())
    }
}

#[cfg(test)]
mod tests;
