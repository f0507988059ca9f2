//! Learning-rate schedules.

use candle_core::{bail, Result};
use serde::{Deserialize, Serialize};

/// A factor for the learning rate, a pure function of the step.
///
/// The step is counted from 0: it is the number of completed steps,
/// [`Optimizer::steps`](crate::Optimizer::steps). A resumed run therefore continues its schedule.
///
/// | constructor | factor at step t |
/// |---|---|
/// | [`Schedule::constant`] | 1 |
/// | [`Schedule::warmup`] | (t + 1) / n, then 1 |
/// | [`Schedule::cosine`] | floor + (1 - floor) (1 + cos(π t / n)) / 2, then floor |
/// | [`Schedule::drops`] | factor^⌊t / every⌋ |
/// | [`Schedule::exponential`] | γ^t |
/// | [`Schedule::times`] | the product of two |
/// | [`Schedule::then`] | the first for n steps, then the second, whose step starts at 0 |
///
/// JSON uses the names of the constructors. Reading refuses invalid values.
///
/// ```
/// use recurrent_train::Schedule;
///
/// # fn main() -> candle_core::Result<()> {
/// let schedule = Schedule::warmup(100)?.then(100, Schedule::cosine(900, 0.1)?);
/// assert_eq!(schedule.factor(0), 0.01);
/// assert_eq!(schedule.factor(99), 1.0);
/// assert_eq!(schedule.factor(100), 1.0);
/// assert_eq!(schedule.factor(550), 0.55); // half way down the cosine
/// assert_eq!(schedule.factor(5000), 0.1);
///
/// let text = r#"{"times": [{"warmup": {"steps": 10}}, {"exponential": {"gamma": 0.999}}]}"#;
/// let read: Schedule = serde_json::from_str(text).expect("a valid schedule");
/// assert_eq!(read, Schedule::warmup(10)?.times(Schedule::exponential(0.999)?));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleKind", into = "ScheduleKind")]
pub struct Schedule(ScheduleKind);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ScheduleKind {
    Constant,
    Warmup { steps: u64 },
    Cosine { steps: u64, floor: f64 },
    Drops { every: u64, factor: f64 },
    Exponential { gamma: f64 },
    Times(Box<Schedule>, Box<Schedule>),
    Then { first: Box<Schedule>, steps: u64, next: Box<Schedule> },
}

impl Schedule {
    /// A constant learning rate.
    pub fn constant() -> Self {
        Self(ScheduleKind::Constant)
    }

    /// Rises linearly and reaches 1 with the last of `steps` steps. The first step has the factor 1
    /// / `steps`, not 0.
    ///
    /// # Errors
    ///
    /// If `steps` is 0.
    pub fn warmup(steps: u64) -> Result<Self> {
        ScheduleKind::Warmup { steps }.validated()
    }

    /// Falls along half a cosine from 1 to `floor` in `steps` steps and stays there (Loshchilov and
    /// Hutter 2017, arXiv:1608.03983 v5, equation 5, without restarts).
    ///
    /// # Errors
    ///
    /// If `steps` is 0 or `floor` is not in \[0, 1\].
    pub fn cosine(steps: u64, floor: f64) -> Result<Self> {
        ScheduleKind::Cosine { steps, floor }.validated()
    }

    /// Multiplies the rate by `factor` after every `every` steps (PyTorch's `StepLR`).
    ///
    /// # Errors
    ///
    /// If `every` is 0 or `factor` is not in (0, 1\].
    pub fn drops(every: u64, factor: f64) -> Result<Self> {
        ScheduleKind::Drops { every, factor }.validated()
    }

    /// Multiplies the rate by `gamma` after every step (PyTorch's `ExponentialLR`).
    ///
    /// # Errors
    ///
    /// If `gamma` is not in (0, 1\].
    pub fn exponential(gamma: f64) -> Result<Self> {
        ScheduleKind::Exponential { gamma }.validated()
    }

    /// The product of both factors.
    pub fn times(self, other: Self) -> Self {
        Self(ScheduleKind::Times(Box::new(self), Box::new(other)))
    }

    /// This one for the first `steps` steps, then `next`, which counts from 0.
    pub fn then(self, steps: u64, next: Self) -> Self {
        Self(ScheduleKind::Then { first: Box::new(self), steps, next: Box::new(next) })
    }

    /// The factor for the step that follows `step` completed ones.
    pub fn factor(&self, step: u64) -> f64 {
        match &self.0 {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Warmup { steps } => {
                if step >= *steps {
                    1.0
                } else {
                    (step + 1) as f64 / *steps as f64
                }
            }
            ScheduleKind::Cosine { steps, floor } => {
                if step >= *steps {
                    return *floor;
                }
                let turn = std::f64::consts::PI * step as f64 / *steps as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + turn.cos())
            }
            ScheduleKind::Drops { every, factor } => factor.powf((step / every) as f64),
            ScheduleKind::Exponential { gamma } => gamma.powf(step as f64),
            ScheduleKind::Times(left, right) => left.factor(step) * right.factor(step),
            ScheduleKind::Then { first, steps, next } => {
                if step < *steps {
                    first.factor(step)
                } else {
                    next.factor(step - steps)
                }
            }
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::constant()
    }
}

impl ScheduleKind {
    fn validated(self) -> Result<Schedule> {
        let at_least_one = |what: &str, value: u64| {
            if value == 0 {
                bail!("{what}: expected at least 1, found 0");
            }
            Ok(())
        };
        let fraction = |what: &str, value: f64| {
            if !(value > 0.0 && value <= 1.0) {
                bail!("{what}: expected a number in (0, 1], found {value}");
            }
            Ok(())
        };
        match &self {
            // the parts of the last two are schedules, which are valid
            Self::Constant | Self::Times(..) | Self::Then { .. } => {}
            Self::Warmup { steps } => at_least_one("schedule warmup steps", *steps)?,
            Self::Cosine { steps, floor } => {
                at_least_one("schedule cosine steps", *steps)?;
                if !(0.0..=1.0).contains(floor) {
                    bail!("schedule cosine floor: expected a number in [0, 1], found {floor}");
                }
            }
            Self::Drops { every, factor } => {
                at_least_one("schedule drops every", *every)?;
                fraction("schedule drops factor", *factor)?;
            }
            Self::Exponential { gamma } => fraction("schedule exponential gamma", *gamma)?,
        }
        Ok(Schedule(self))
    }
}

impl TryFrom<ScheduleKind> for Schedule {
    type Error = String;
    fn try_from(rule: ScheduleKind) -> std::result::Result<Self, String> {
        rule.validated().map_err(|error| error.to_string())
    }
}

impl From<Schedule> for ScheduleKind {
    fn from(schedule: Schedule) -> Self {
        schedule.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-14, "{left} against {right}");
    }

    #[test]
    fn factors_are_those_of_the_table() -> Result<()> {
        assert_eq!(Schedule::constant().factor(u64::MAX), 1.0);
        let warmup = Schedule::warmup(4)?;
        assert_eq!(
            [0, 1, 2, 3, 4, 99].map(|step| warmup.factor(step)),
            [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
        );
        let cosine = Schedule::cosine(4, 0.2)?;
        let quarter = 0.2 + 0.4 * (1.0 + 0.5f64.sqrt());
        for (step, factor) in
            [(0, 1.0), (1, quarter), (2, 0.6), (3, 1.2 - quarter), (4, 0.2), (1000, 0.2)]
        {
            near(cosine.factor(step), factor);
        }
        let drops = Schedule::drops(3, 0.5)?;
        assert_eq!([0, 2, 3, 5, 6].map(|step| drops.factor(step)), [1.0, 1.0, 0.5, 0.5, 0.25]);
        near(Schedule::exponential(0.9)?.factor(3), 0.729);
        Ok(())
    }

    #[test]
    fn schedules_combine() -> Result<()> {
        let product = Schedule::warmup(2)?.times(Schedule::drops(1, 0.5)?);
        assert_eq!([0, 1, 2].map(|step| product.factor(step)), [0.5, 0.5, 0.25]);
        let three =
            Schedule::warmup(2)?.then(2, Schedule::constant().then(3, Schedule::drops(1, 0.5)?));
        let found: Vec<f64> = (0..7).map(|step| three.factor(step)).collect();
        assert_eq!(found, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        Ok(())
    }

    #[test]
    fn invalid_values_are_refused_in_code_and_in_json() {
        let refused = [
            (
                Schedule::warmup(0),
                r#"{"warmup": {"steps": 0}}"#,
                "warmup steps: expected at least 1, found 0",
            ),
            (Schedule::cosine(0, 0.0), r#"{"cosine": {"steps": 0, "floor": 0}}"#, "cosine steps"),
            (
                Schedule::cosine(9, 1.5),
                r#"{"cosine": {"steps": 9, "floor": 1.5}}"#,
                "in [0, 1], found 1.5",
            ),
            (Schedule::drops(0, 0.5), r#"{"drops": {"every": 0, "factor": 0.5}}"#, "drops every"),
            (
                Schedule::drops(2, 0.0),
                r#"{"drops": {"every": 2, "factor": 0}}"#,
                "in (0, 1], found 0",
            ),
            (Schedule::exponential(1.1), r#"{"exponential": {"gamma": 1.1}}"#, "gamma"),
        ];
        for (built, text, part) in refused {
            let built = built.expect_err(text).to_string();
            let read = serde_json::from_str::<Schedule>(text).expect_err(text).to_string();
            assert!(built.contains(part) && read.contains(part), "{built} / {read}");
        }
        assert!(Schedule::exponential(f64::NAN).is_err());
        let nested =
            r#"{"then": {"first": "constant", "steps": 5, "next": {"warmup": {"steps": 0}}}}"#;
        assert!(serde_json::from_str::<Schedule>(nested).is_err());
    }

    #[test]
    fn json_round_trip() -> Result<()> {
        let schedule = Schedule::warmup(5)?
            .then(5, Schedule::cosine(95, 0.25)?.times(Schedule::drops(9, 0.5)?));
        let text = serde_json::to_string(&schedule).map_err(candle_core::Error::msg)?;
        assert_eq!(
            serde_json::from_str::<Schedule>(&text).map_err(candle_core::Error::msg)?,
            schedule
        );
        Ok(())
    }
}
