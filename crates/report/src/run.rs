//! The fields of a run's record that the report reads, under the report's names.

use super::numbers::Precision;
use super::trend::Phase;
use crate::config::Clipping;
use crate::record::{RunRecord, StateGradients};
use recurrent_measures::Fit;

/// Reads a record for the report.
pub(super) trait RunView {
    /// The task's name.
    fn task(&self) -> &str;
    /// A checksum of the task's data; `None` if the task generates it.
    fn data(&self) -> Option<&str>;
    /// The length of the sequences, in steps.
    fn length(&self) -> usize;
    /// The longest lag of the task, in steps.
    fn longest_lag(&self) -> usize;
    /// The seed of weights and data.
    fn seed(&self) -> u64;
    /// The hidden units of a layer.
    fn hidden(&self) -> usize;
    /// The number of recurrent layers.
    fn layers(&self) -> usize;
    /// The name of the dtype.
    fn dtype(&self) -> &str;
    /// The name of the device.
    fn device(&self) -> &str;
    /// The sequences of a batch.
    fn batch(&self) -> usize;
    /// The initial learning rate.
    fn lr(&self) -> f64;
    /// The largest number of training steps.
    fn max_steps(&self) -> u64;
    /// The clipping of the gradient, in words.
    fn clip(&self) -> String;
    /// The fit of a part of the state (`h`, `c`), if the run has one.
    fn fit(&self, part: &str, phase: Phase) -> Option<&Fit>;
    /// The half-life of the gradient of a part, in steps; `None` if it does not decay.
    fn half_life(&self, part: &str, phase: Phase) -> Option<f64>;
    /// The last lag at which dL/dh is at least a thousandth of that at lag 0.
    fn horizon(&self, phase: Phase) -> Option<usize>;
    /// The norm of dL/dh at the first step over that at the last.
    fn grad_ratio(&self, phase: Phase) -> Option<f64>;
    /// The number of lags with an underflow at initialisation, and the first of them.
    fn underflow(&self) -> (usize, Option<usize>);
    /// The share of training steps whose gradient the clip changed.
    fn clipped_fraction(&self) -> f64;

    /// The limits of the dtype.
    fn precision(&self) -> Precision {
        Precision::of(self.dtype())
    }
    /// The lag of the first step.
    fn last_lag(&self) -> usize {
        self.length().saturating_sub(1)
    }
}

impl RunView for RunRecord {
    fn task(&self) -> &str {
        &self.config.task.name
    }

    fn data(&self) -> Option<&str> {
        self.config.task.data.as_deref()
    }

    fn length(&self) -> usize {
        self.config.task.length
    }

    fn longest_lag(&self) -> usize {
        self.config.task.longest_lag
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn hidden(&self) -> usize {
        self.config.model.hidden
    }

    fn layers(&self) -> usize {
        self.config.model.layers
    }

    fn dtype(&self) -> &str {
        self.config.training.dtype.as_str()
    }

    fn device(&self) -> &str {
        &self.config.training.device
    }

    fn batch(&self) -> usize {
        self.config.training.batch
    }

    fn lr(&self) -> f64 {
        self.config.training.lr
    }

    fn max_steps(&self) -> u64 {
        self.config.max_steps()
    }

    fn clip(&self) -> String {
        match self.config.training.clip {
            Clipping::Off => "not clipped".to_owned(),
            Clipping::GlobalNorm(bound) => format!("clipped at {bound}"),
            Clipping::PerTensor(bound) => format!("clipped tensor by tensor at {bound}"),
            Clipping::Value(bound) => format!("clipped element by element at {bound}"),
        }
    }

    fn fit(&self, part: &str, phase: Phase) -> Option<&Fit> {
        state(self, part, phase)?.fit.as_ref()
    }

    fn half_life(&self, part: &str, phase: Phase) -> Option<f64> {
        state(self, part, phase)?.half_life
    }

    fn horizon(&self, phase: Phase) -> Option<usize> {
        state(self, "h", phase)?.horizon
    }

    fn grad_ratio(&self, phase: Phase) -> Option<f64> {
        state(self, "h", phase)?.ratio
    }

    fn underflow(&self) -> (usize, Option<usize>) {
        let underflow = self.gradients.init.h.underflow;
        (underflow.lags, underflow.first)
    }

    fn clipped_fraction(&self) -> f64 {
        self.clipping.fraction
    }
}

/// The gradient of a part of the state (`h`, `c`).
fn state<'a>(run: &'a RunRecord, part: &str, phase: Phase) -> Option<&'a StateGradients> {
    let phase = match phase {
        Phase::Init => &run.gradients.init,
        Phase::Final => &run.gradients.trained,
    };
    match part {
        "h" => Some(&phase.h),
        "c" => Some(&phase.c),
        _ => None,
    }
}

/// Sets R² of the line through the profile of h.
#[cfg(test)]
pub(super) fn set_r2(run: &mut RunRecord, phase: Phase, r2: f64) {
    let state = match phase {
        Phase::Init => &mut run.gradients.init.h,
        Phase::Final => &mut run.gradients.trained.h,
    };
    state.fit.as_mut().expect("a fit").r2 = r2;
}
