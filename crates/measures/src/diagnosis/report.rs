//! The report of a diagnosis.

use super::finding::{layer, words, Finding};
use crate::json::number;
use crate::text::{count, number as short, percent};
use recurrent_core::LayerId;
use serde::{Deserialize, Serialize};
use std::fmt;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// The columns of the text.
const COLUMNS: usize = 100;

/// The report of a diagnosis: the findings, the worst first, and the measurements of every layer.
///
/// `Display` writes it in words, 100 columns wide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiagnosisReport {
    /// The longest lag that the data needs, in steps.
    pub needed: usize,
    /// The number of batches.
    pub batches: usize,
    /// The findings.
    pub findings: Vec<Finding>,
    /// The measurements, by layer, direction and field of the state.
    pub layers: Vec<LayerMeasures>,
}

/// The measurements of one field of one layer's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerMeasures {
    /// Which layer, and which direction.
    #[serde(with = "layer")]
    pub layer_id: Option<LayerId>,
    /// The field of the state: `h`, `c`.
    pub part: String,
    /// The decay of the gradient per step; negative for growth. `None` if too few lags have a
    /// gradient.
    pub decay: Option<f64>,
    /// The largest lag with a thousandth of the gradient, in steps; `None` without a gradient.
    pub horizon: Option<usize>,
    /// The share of the gradient at the needed lag, or at the last lag of the sequences; `None`
    /// without a gradient.
    pub left: Option<f64>,
    /// The norm of the gradient of all steps together, over that of the same field of the top
    /// layer.
    #[serde(with = "number")]
    pub strength: f64,
    /// The share of dead units.
    #[serde(with = "number")]
    pub dead: f64,
    /// Each gate's mean over units, examples and steps.
    pub gates: Vec<(String, f64)>,
}

impl DiagnosisReport {
    /// Every finding as one line of JSON. Numbers that are not finite are strings.
    ///
    /// # Errors
    /// If serialisation fails.
    pub fn json_lines(&self) -> serde_json::Result<String> {
        let lines = self.findings.iter().map(|finding| Ok(serde_json::to_string(finding)? + "\n"));
        lines.collect()
    }
}

impl fmt::Display for DiagnosisReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.batches == 0 {
            return writeln!(
                f,
                "Nothing was recorded: no batch was added, so there is no diagnosis.\n\
                 Call Diagnosis::add_batch after each backward pass."
            );
        }
        let findings = match self.findings.len() {
            0 => "No finding".to_string(),
            many => count(many, "finding"),
        };
        let batches = match self.batches {
            1 => "1 batch".to_string(),
            many => format!("{many} batches"),
        };
        writeln!(f, "{findings} in {batches}; the data needs lags up to {}.", self.needed)?;
        for (index, finding) in self.findings.iter().enumerate() {
            writeln!(f)?;
            finding.write(f)?;
            match self.findings[..index]
                .iter()
                .find(|above| above.suggestions == finding.suggestions)
            {
                Some(above) => {
                    let layer_id = above
                        .layer_id
                        .map_or(String::new(), |layer_id| format!(" for {}", words(layer_id)));
                    writeln!(f, "         see the suggestions above{layer_id}")?;
                }
                None => finding.write_suggestions(f)?,
            }
        }
        if !self.layers.is_empty() {
            writeln!(f)?;
            self.write_layers(f)?;
        }
        Ok(())
    }
}

impl DiagnosisReport {
    fn write_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = format!("left at {}", self.needed);
        let head = ["layer", "half-life", &left, "horizon", "to the top's", "dead", "gates, mean"];
        writeln!(f, "{}", line(&head.map(str::to_string)))?;
        for measures in &self.layers {
            let half_life = match measures.decay {
                Some(decay) if decay > 0.0 => short(std::f64::consts::LN_2 / decay),
                Some(decay) if decay < 0.0 => {
                    format!("×2 in {}", short(-std::f64::consts::LN_2 / decay))
                }
                Some(_) => "none".to_string(),
                None => "–".to_string(),
            };
            let layer_id = measures.layer_id.unwrap_or_default();
            let gates =
                measures.gates.iter().map(|(name, mean)| format!("{name} {}", short(*mean)));
            let cells = [
                format!(
                    "{}{} dL/d{}",
                    layer_id.layer,
                    if layer_id.reverse { " reverse" } else { "" },
                    measures.part
                ),
                half_life,
                measures.left.map_or("–".to_string(), short),
                measures.horizon.map_or("–".to_string(), |lag| lag.to_string()),
                short(measures.strength),
                percent(measures.dead),
                gates.collect::<Vec<_>>().join("  "),
            ];
            writeln!(f, "{}", line(&cells))?;
        }
        Ok(())
    }
}

fn line(cells: &[String; 7]) -> String {
    let [name, half_life, left, horizon, strength, dead, gates] = cells;
    let line =
        format!("{name:<17}{half_life:>11}{left:>13}{horizon:>9}{strength:>14}{dead:>7}  {gates}");
    line.trim_end().to_string()
}

impl Finding {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer_id =
            self.layer_id.map_or(String::new(), |layer_id| format!("{}: ", words(layer_id)));
        let gate = self.gate.as_ref().map_or(String::new(), |gate| format!(" ({gate})"));
        writeln!(f, "{:<8} {layer_id}{}{gate}", self.severity, self.kind)?;
        f.write_str(&wrapped(&self.why, 9, 9, COLUMNS))
    }

    fn write_suggestions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.suggestions.iter().try_for_each(|suggestion| {
            let evidence = suggestion.evidence.as_ref();
            let evidence = evidence.map_or(String::new(), |evidence| format!(" [{evidence}]"));
            let text = format!("try {:<15} {}{evidence}", suggestion.name, suggestion.effect);
            f.write_str(&wrapped(&text, 9, 29, COLUMNS))
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        self.write_suggestions(f)
    }
}

/// The text in lines of at most `columns` columns: the first begins with `first` spaces, the others
/// with `indent`. A word is never broken.
fn wrapped(text: &str, first: usize, indent: usize, columns: usize) -> String {
    let (first, indent) = (" ".repeat(first), " ".repeat(indent));
    let options = Options::new(columns)
        .initial_indent(&first)
        .subsequent_indent(&indent)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(text, options) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_batches_states_that() {
        let report = crate::diagnosis::Diagnosis::new(10).report();
        assert_eq!((report.batches, report.findings.len()), (0, 0));
        let text = report.to_string();
        assert!(text.starts_with("Nothing was recorded") && !text.contains("No finding"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn lines_are_filled_and_no_longer() {
        assert_eq!(wrapped("one two three four", 2, 3, 9), "  one two\n   three\n   four\n");
        assert_eq!(wrapped("immeasurable", 2, 2, 9), "  immeasurable\n", "a word is not broken");
    }
}
