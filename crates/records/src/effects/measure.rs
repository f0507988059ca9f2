//! What is measured of a run, and how large a difference has to be.

use crate::record::{PhaseGradients, RunRecord, Status};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// What is compared between a run of the base and one with a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The rate ρ at which dL/dh_t decays at initialisation, a step. A half-life is ln 2 / ρ, which
    /// is infinite without decay and negative where the gradient grows; so effects are differences
    /// of |ρ|, the distance from a gradient that is kept, and half-lives stand beside.
    DecayInit,
    /// The same after training.
    DecayFinal,
    /// The largest lag at which dL/dh_t is at least a thousandth of that at lag 0, at
    /// initialisation, in steps.
    HorizonInit,
    /// The same after training.
    HorizonFinal,
    /// Training steps until the task was solved, and all steps that were allowed where it was not:
    /// a run that failed did not solve it. So the difference is that of the times within the
    /// budget, and where only one of a pair solved the task, the true one is larger.
    StepsToSolve,
    /// The logarithm of the held-out loss at the end. A run that failed counts with the largest
    /// loss of the two variants, or the baseline if that is larger. Runs that solve the task end
    /// there, so that losses below the criterion say little.
    FinalLoss,
}

/// Losses below this count as this: nothing can be read off the logarithm of a rounding error.
const LEAST_LOSS: f64 = 1e-12;

impl Measure {
    /// All of them, in the order of reports.
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

    /// Whether a negative effect is the better one.
    pub fn lower_is_better(self) -> bool {
        !matches!(self, Self::HorizonInit | Self::HorizonFinal)
    }

    /// Whether it is known only once a run has ended by itself.
    fn after_training(self) -> bool {
        !matches!(self, Self::DecayInit | Self::HorizonInit)
    }

    /// The value of a run; `None` where there is none to compare. `worst` is the loss of a run that
    /// failed.
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

    /// What of a value is subtracted: |ρ|, ln loss, or the value itself.
    pub(super) fn scale(self, value: f64) -> f64 {
        match self {
            Self::DecayInit | Self::DecayFinal => value.abs(),
            Self::FinalLoss => value.max(LEAST_LOSS).ln(),
            Self::HorizonInit | Self::HorizonFinal | Self::StepsToSolve => value,
        }
    }

    /// How large an effect is at least, to matter: a factor of 2 in the gradient over the whole
    /// sequence; a tenth of the sequence; a tenth of the steps allowed; a quarter of the loss.
    pub(super) fn margin(self, run: &RunRecord) -> f64 {
        match self {
            Self::DecayInit | Self::DecayFinal => LN_2 / run.config.task.length as f64,
            Self::HorizonInit | Self::HorizonFinal => 0.1 * run.config.task.length as f64,
            Self::StepsToSolve => 0.1 * run.config.max_steps() as f64,
            Self::FinalLoss => 1.25_f64.ln(),
        }
    }
}
