//! The fields of a run's record that the report reads. Only this module knows how a record nests them.

use super::numbers::Precision;
use super::trend::Phase;
use crate::record::RunRecord;
use crate::treatment::ClipKind;
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
    /// The learning rate at the start.
    fn lr(&self) -> f64;
    /// The training steps allowed.
    fn max_steps(&self) -> u64;
    /// How the gradient was clipped, in words.
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

    /// What the dtype can hold.
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
        &self.task
    }

    fn data(&self) -> Option<&str> {
        self.data.as_deref()
    }

    fn length(&self) -> usize {
        self.length
    }

    fn longest_lag(&self) -> usize {
        self.longest_lag
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn hidden(&self) -> usize {
        self.hidden
    }

    fn layers(&self) -> usize {
        self.layers
    }

    fn dtype(&self) -> &str {
        &self.dtype
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn max_steps(&self) -> u64 {
        self.max_steps
    }

    fn clip(&self) -> String {
        let unit = match self.clip_kind {
            ClipKind::Off | ClipKind::GlobalNorm => "",
            ClipKind::PerTensor => " tensor by tensor",
            ClipKind::Value => " element by element",
        };
        match self.clip {
            Some(bound) => format!("clipped{unit} at {bound}"),
            None => "not clipped".to_owned(),
        }
    }

    fn fit(&self, part: &str, phase: Phase) -> Option<&Fit> {
        self.fits.get(&format!("{part}_{}", phase.key()))
    }

    fn half_life(&self, part: &str, phase: Phase) -> Option<f64> {
        match (part, phase) {
            ("h", Phase::Init) => self.half_life_h_init,
            ("h", Phase::Final) => self.half_life_h_final,
            ("c", Phase::Init) => self.half_life_c_init,
            ("c", Phase::Final) => self.half_life_c_final,
            _ => None,
        }
    }

    fn horizon(&self, phase: Phase) -> Option<usize> {
        match phase {
            Phase::Init => self.horizon_init,
            Phase::Final => self.horizon_final,
        }
    }

    fn grad_ratio(&self, phase: Phase) -> Option<f64> {
        match phase {
            Phase::Init => self.grad_ratio_init,
            Phase::Final => self.grad_ratio_final,
        }
    }

    fn underflow(&self) -> (usize, Option<usize>) {
        (self.underflow_lags, self.underflow_from)
    }

    fn clipped_fraction(&self) -> f64 {
        self.clipped_fraction
    }
}

/// Changes how well the line fits the profile of h.
#[cfg(test)]
pub(super) fn set_r2(run: &mut RunRecord, phase: Phase, r2: f64) {
    run.fits.get_mut(&format!("h_{}", phase.key())).expect("a fit").r2 = r2;
}
