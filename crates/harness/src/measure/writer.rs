//! Writes the lines of `measures.jsonl`.

use crate::config::Level;
use crate::job::Job;
use crate::record::MeasureRecord;
use recurrent_core::LayerId;

/// The lines of one moment.
pub(super) struct MeasureWriter {
    pub(super) level: Level,
    pub(super) lines: Vec<MeasureRecord>,
    variant: String,
    seed: u64,
    step: u64,
}

/// The key of a line: a measure, and a part of the network.
#[derive(Clone, Copy)]
pub(super) struct MeasureKey<'a> {
    measure: &'static str,
    place: Option<LayerId>,
    part: &'a str,
}

/// A measure of the whole network.
pub(super) fn of_all(measure: &'static str) -> MeasureKey<'static> {
    MeasureKey { measure, place: None, part: "" }
}

/// A measure of one layer, in one direction.
pub(super) fn of(measure: &'static str, place: LayerId) -> MeasureKey<'static> {
    MeasureKey { measure, place: Some(place), part: "" }
}

impl<'a> MeasureKey<'a> {
    /// The same for one part: a gate, a field of the state, or a weight.
    pub(super) fn part(self, part: &'a str) -> Self {
        Self { part, ..self }
    }
}

impl MeasureWriter {
    pub(super) fn new(job: &Job, step: u64) -> Self {
        let (variant, seed) = (job.variant.name.clone(), job.config.seed);
        Self { level: Level::default(), lines: Vec::new(), variant, seed, step }
    }

    /// A single number.
    pub(super) fn one(&mut self, key: MeasureKey, value: f64) {
        self.line(key, "", Vec::new(), vec![value], None);
    }

    /// A number, or why it is missing.
    pub(super) fn maybe(&mut self, key: MeasureKey, value: Option<f64>, why: &str) {
        match value {
            Some(value) => self.one(key, value),
            None => self.none(key, why),
        }
    }

    /// A number for every position on an axis: a lag, a window.
    pub(super) fn curve(
        &mut self,
        key: MeasureKey,
        axis: &str,
        points: impl IntoIterator<Item = (usize, f64)>,
    ) {
        let (at, values) = points.into_iter().unzip();
        self.line(key, axis, at, values, None);
    }

    /// Records why there is no number.
    pub(super) fn none(&mut self, key: MeasureKey, why: &str) {
        self.line(key, "", Vec::new(), Vec::new(), Some(why.to_string()));
    }

    fn line(
        &mut self,
        key: MeasureKey,
        axis: &str,
        at: Vec<usize>,
        values: Vec<f64>,
        note: Option<String>,
    ) {
        self.lines.push(MeasureRecord {
            variant: self.variant.clone(),
            seed: self.seed,
            step: self.step,
            level: self.level,
            measure: key.measure.to_string(),
            layer: key.place.map(|place| place.layer),
            direction: key
                .place
                .map(|place| if place.reverse { "reverse" } else { "forward" }.to_string()),
            part: key.part.to_string(),
            axis: axis.to_string(),
            at,
            values,
            note,
        });
    }
}
