//! The measures that are compared, and how large a difference must be to matter.

use crate::record::{PhaseGradients, RunRecord, Status};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// A quantity that is compared between a run of the base and one with a modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The rate ρ per step at which dL/dh_t decays at initialisation. The half-life ln 2 / ρ is
    /// infinite without decay and negative where the gradient grows. Effects are therefore
    /// differences of |ρ|, the distance from a gradient that is kept, and half-lives are shown
    /// beside them.
    DecayInit,
    /// The same after training.
    DecayFinal,
    /// The largest lag at which dL/dh_t is at least a thousandth of that at lag 0, at
    /// initialisation, in steps.
    HorizonInit,
    /// The same after training.
    HorizonFinal,
    /// Training steps until the task was solved, or all allowed steps if it was not. A failed run
    /// did not solve the task. The difference is therefore one within the budget: if only one run
    /// of a pair solved the task, the true difference is larger.
    StepsToSolve,
    /// The logarithm of the final held-out loss. A failed run counts with the largest loss of the
    /// two variants, or with the baseline if that is larger. Runs end when they solve the task, so
    /// losses below the criterion say little.
    FinalLoss,
}

/// Smaller losses count as this one: the logarithm of a rounding error means nothing.
const LEAST_LOSS: f64 = 1e-12;

impl Measure {
    /// All measures, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::DecayInit,
        Self::DecayFinal,
        Self::HorizonInit,
        Self::HorizonFinal,
        Self::StepsToSolve,
        Self::FinalLoss,
    ];

    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::DecayInit => "half-life at initialisation",
            Self::DecayFinal => "half-life after training",
            Self::HorizonInit => "horizon at initialisation",
            Self::HorizonFinal => "horizon after training",
            Self::StepsToSolve => "steps to solve",
            Self::FinalLoss => "final loss",
        }
    }

    /// The unit of values and effects.
    pub fn unit(self) -> &'static str {
        match self {
            Self::DecayInit | Self::DecayFinal => "1/step",
            Self::HorizonInit | Self::HorizonFinal => "steps",
            Self::StepsToSolve => "training steps",
            Self::FinalLoss => "loss; effects ln(loss ratio)",
        }
    }

    /// Whether a negative effect is an improvement.
    pub fn lower_is_better(self) -> bool {
        !matches!(self, Self::HorizonInit | Self::HorizonFinal)
    }

    /// Whether it is known only for a run that ended by itself.
    fn after_training(self) -> bool {
        !matches!(self, Self::DecayInit | Self::HorizonInit)
    }

    /// The value of a run; `None` if it has no value to compare. `worst` is the loss of a failed
    /// run.
    pub(super) fn value(self, run: &RunRecord, worst: f64) -> Option<f64> {
        let failed = matches!(run.status, Status::Failed(_));
        if self.after_training() && run.status == Status::Stopped {
            return None;
        }
        let rate = |phase: &PhaseGradients| phase.h.fit.map(|fit| fit.decay);
        let (init, trained) = (&run.gradients.init, &run.gradients.trained);
        let lags = |horizon: Option<usize>| horizon.map(|lags| lags as f64);
        let value = match self {
            Self::DecayInit => rate(init),
            Self::HorizonInit => lags(init.h.horizon),
            Self::DecayFinal | Self::HorizonFinal if failed => None,
            Self::DecayFinal => rate(trained),
            Self::HorizonFinal => lags(trained.h.horizon),
            Self::StepsToSolve => {
                let steps = run
                    .outcome
                    .steps_to_solve
                    .filter(|_| !failed)
                    .unwrap_or(run.config.max_steps());
                run.config.task.criterion.map(|_| steps as f64)
            }
            Self::FinalLoss if failed => Some(worst),
            Self::FinalLoss => Some(run.outcome.final_loss),
        };
        value.filter(|value| value.is_finite())
    }

    /// The scale on which values are subtracted: |ρ|, ln loss, or the value itself.
    pub(super) fn scale(self, value: f64) -> f64 {
        match self {
            Self::DecayInit | Self::DecayFinal => value.abs(),
            Self::FinalLoss => value.max(LEAST_LOSS).ln(),
            Self::HorizonInit | Self::HorizonFinal | Self::StepsToSolve => value,
        }
    }

    /// The smallest effect that matters: a factor of 2 in the gradient over the whole sequence; a
    /// tenth of the sequence; a tenth of the allowed steps; a quarter of the loss.
    pub(super) fn margin(self, run: &RunRecord) -> f64 {
        match self {
            Self::DecayInit | Self::DecayFinal => LN_2 / run.config.task.length as f64,
            Self::HorizonInit | Self::HorizonFinal => 0.1 * run.config.task.length as f64,
            Self::StepsToSolve => 0.1 * run.config.max_steps() as f64,
            Self::FinalLoss => 1.25_f64.ln(),
        }
    }
}
