//! The trend of a profile by its fitted line: it halves, it doubles, or neither.

use super::numbers::{steps, Spread};
use super::run::RunView;
use crate::record::RunRecord;
use std::f64::consts::LN_2;

/// A fit needs at least this many lags.
pub(super) const FEWEST_POINTS: usize = 3;

/// Beyond this many lengths of the sequence, a half-life or doubling time counts as no decay.
pub(super) const FLAT_LENGTHS: f64 = 10.0;

/// A line that explains less than this share of the variance (R²) fits badly, and its half-life is
/// marked.
pub(super) const POOR_FIT: f64 = 0.5;

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the first update.
    Init,
    /// After the last one.
    Final,
}

impl Phase {
    /// Both, in the order of time.
    pub(super) const BOTH: [Self; 2] = [Self::Init, Self::Final];

    /// The word in headings.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Init => "at initialisation",
            Self::Final => "after training",
        }
    }

    /// The word in the keys of records and in file names.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Final => "final",
        }
    }
}

/// ρ, the fitted decay per step; `None` if there were too few points. The recorded half-life takes
/// precedence.
pub(super) fn rate(run: &RunRecord, part: &str, phase: Phase) -> Option<f64> {
    match run.half_life(part, phase) {
        Some(half_life) if half_life > 0.0 => Some(LN_2 / half_life),
        _ => run
            .fit(part, phase)
            .filter(|fit| fit.points >= FEWEST_POINTS && fit.decay.is_finite())
            .map(|fit| fit.decay),
    }
}

/// R² of the fitted line of a half-life or doubling time, if it is below [`POOR_FIT`].
pub(super) fn poor_fit(run: &RunRecord, part: &str, phase: Phase) -> Option<f64> {
    let rate = rate(run, part, phase)?;
    let r2 = run.fit(part, phase)?.r2;
    (Trend::of(rate, run.length()) != Trend::Flat && r2 < POOR_FIT).then_some(r2)
}

/// A rate for readers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trend {
    /// It halves in this many steps.
    Halves(f64),
    /// Neither halves nor doubles within [`FLAT_LENGTHS`] sequences.
    Flat,
    /// It doubles in this many steps.
    Doubles(f64),
}

impl Trend {
    /// The trend for ρ and sequences of `length` steps.
    pub(super) fn of(rate: f64, length: usize) -> Self {
        let time = LN_2 / rate.abs();
        if time > FLAT_LENGTHS * length.max(1) as f64 {
            Self::Flat
        } else if rate > 0.0 {
            Self::Halves(time)
        } else {
            Self::Doubles(time)
        }
    }

    /// The text for a cell of a table.
    pub(super) fn short(self) -> String {
        match self {
            Self::Halves(time) => steps(time),
            Self::Flat => "no decay".to_owned(),
            Self::Doubles(time) => format!("×2 in {}", steps(time)),
        }
    }

    /// The text for the row of a run.
    pub(super) fn long(self) -> String {
        match self {
            Self::Halves(time) => steps(time),
            Self::Flat => "no decay".to_owned(),
            Self::Doubles(time) => format!("grows: doubles every {} steps", steps(time)),
        }
    }
}

/// Half-life or doubling time of a part of the state over some runs, with a warning if the line
/// fits badly: `half-life 2.2, 2.0–2.5 over seeds`, `doubling every 34 steps`, `no decay`. `None`
/// if no run has a rate.
pub(super) fn describe(runs: &[&RunRecord], part: &str, phase: Phase) -> Option<String> {
    let rates: Vec<f64> = runs.iter().filter_map(|run| rate(run, part, phase)).collect();
    let text = describe_rates(&rates, runs.first()?.length())?;
    Some(match poor_fits(runs, part, phase) {
        Some(warning) => format!("{text}; {warning}"),
        None => text,
    })
}

/// `the line fits badly: R² 0.05–0.21`, if this holds for at least one of the runs.
pub(super) fn poor_fits(runs: &[&RunRecord], part: &str, phase: Phase) -> Option<String> {
    let r2 = Spread::of(runs.iter().filter_map(|run| poor_fit(run, part, phase)))?;
    let digits = |r2: f64| format!("{r2:.2}");
    let range = r2.range(digits).unwrap_or_else(|| r2.median(digits));
    Some(format!("the line fits badly: R² {range}"))
}

/// The same for rates alone.
pub(super) fn describe_rates(rates: &[f64], length: usize) -> Option<String> {
    let Spread { low, mid, high } = Spread::of(rates.iter().copied())?;
    let trend = |rate: f64| Trend::of(rate, length);
    let words = |rate: f64| match trend(rate) {
        Trend::Halves(time) => format!("half-life {}", steps(time)),
        Trend::Flat => "no decay".to_owned(),
        Trend::Doubles(time) => format!("doubling every {} steps", steps(time)),
    };
    let range = match (trend(low), trend(high)) {
        // The largest rate is the shortest half-life, the lowest the fastest growth.
        (Trend::Halves(long), Trend::Halves(brief)) => (steps(brief), steps(long)),
        (Trend::Doubles(fast), Trend::Doubles(slow)) => (steps(fast), steps(slow)),
        (Trend::Flat, Trend::Flat) => return Some(words(mid)),
        _ => {
            return Some(format!(
                "{}, from {} to {} over seeds",
                words(mid),
                words(high),
                words(low)
            ))
        }
    };
    let range = if range.0 == range.1 {
        String::new()
    } else {
        format!(", {}–{} over seeds", range.0, range.1)
    };
    Some(format!("{}{range}", words(mid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use recurrent_measures::Fit;

    #[test]
    fn borders() {
        assert_eq!(Trend::of(LN_2 / 2.2, 100).short(), "2.2");
        assert_eq!(Trend::of(-LN_2 / 34.0, 100).short(), "×2 in 34");
        assert_eq!(Trend::of(LN_2 / 1000.1, 100), Trend::Flat, "beyond ten lengths");
        assert_eq!(Trend::of(LN_2 / 999.9, 100).short(), "1000", "within ten lengths");
        assert_eq!(Trend::of(0.0, 100).long(), "no decay");
        assert_eq!(Trend::of(-LN_2 / 34.0, 100).long(), "grows: doubles every 34 steps");
    }

    #[test]
    fn spreads() {
        let rates = |times: &[f64]| times.iter().map(|time| LN_2 / time).collect::<Vec<_>>();
        assert_eq!(
            describe_rates(&rates(&[2.0, 2.5, 2.2]), 100).as_deref(),
            Some("half-life 2.2, 2.0–2.5 over seeds")
        );
        assert_eq!(
            describe_rates(&rates(&[-34.0, -61.0]), 100).as_deref(),
            Some("doubling every 44 steps, 34–61 over seeds")
        );
        assert_eq!(describe_rates(&rates(&[1e9]), 100).as_deref(), Some("no decay"));
        assert_eq!(
            describe_rates(&rates(&[50.0, 90.0, -80.0]), 100).as_deref(),
            Some("half-life 90, from half-life 50 to doubling every 80 steps over seeds")
        );
        assert_eq!(describe_rates(&[], 100), None);
    }

    #[test]
    fn the_fit_replaces_a_missing_half_life() {
        let mut run = sample::run("lstm", 1);
        assert_eq!(rate(&run, "h", Phase::Init), Some(LN_2 / 2.2));
        run.gradients.init.h.half_life = None;
        run.gradients.init.h.fit = Some(Fit { decay: -0.02, r2: 0.9, points: 80, underflowed: 0 });
        assert_eq!(rate(&run, "h", Phase::Init), Some(-0.02));
        run.gradients.init.h.fit = Some(Fit { decay: -0.02, r2: 0.9, points: 2, underflowed: 60 });
        assert_eq!(rate(&run, "h", Phase::Init), None, "two points are no fit");
        run.gradients.init.h.fit = None;
        assert_eq!(rate(&run, "h", Phase::Init), None);
    }
}
