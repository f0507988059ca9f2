//! Dropout over time, around any cell: variational dropout, zoneout and weight drop.

use crate::random::{mix, name_key};
use crate::{dropout::mask, ForwardContext, LayerId, Sequence, StepKey};
use candle_core::{bail, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The rates of dropout on a recurrence while training; see [`crate::Rnn::with_recurrent_dropout`].
/// All zero by default.
///
/// ```text
/// variational dropout   x_t ∘ m_x for every t; h_{t-1} ∘ m_h where it enters the recurrent matrices; one mask for all steps
/// zoneout               h_t = k_t ∘ h_{t-1} + (1 − k_t) ∘ h̃_t, and c likewise, with new k_t ~ Bernoulli(rate) at every step
/// weight drop           W_hh ∘ m, one mask for the whole pass
/// ```
///
/// Gal and Ghahramani (2016, arXiv:1512.05287v5, with masks shared by the gates, as their "tied"
/// weights); Krueger et al. (2017, arXiv:1606.01305v4), where evaluation takes k_t = rate; Merity,
/// Keskar and Socher (2018, arXiv:1708.02182v1). Kept values are scaled by 1 / (1 − rate). Masks
/// depend on the key of the training step and the position of the layer, those of weights also on
/// their names; they do not depend on threads or on the engine. In evaluation there are no masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecurrentDropout {
    /// The rate of dropout on the input.
    pub input: f64,
    /// The rate of dropout on the last output, as input of the recurrent matrices.
    pub recurrent: f64,
    /// The rate of zoneout of h.
    pub zoneout_h: f64,
    /// The rate of zoneout of c.
    pub zoneout_c: f64,
    /// The rate of dropout on the weights whose name begins with `weight_hh`.
    pub weights: f64,
}

impl RecurrentDropout {
    /// Zoneout with these rates for h and c.
    pub fn zoneout(h: f64, c: f64) -> Self {
        Self { zoneout_h: h, zoneout_c: c, ..Self::default() }
    }

    /// Variational dropout with these rates on the input and on the last output.
    pub fn variational(input: f64, recurrent: f64) -> Self {
        Self { input, recurrent, ..Self::default() }
    }

    /// The rate of zoneout of a field of the state.
    pub(crate) fn zoneout_rate(&self, field: &str) -> f64 {
        match field {
            "h" => self.zoneout_h,
            "c" => self.zoneout_c,
            _ => 0.0,
        }
    }

    /// Checks the rates, for a cell whose state has these fields.
    pub(crate) fn check(&self, fields: &[&str]) -> Result<()> {
        let rates = [
            ("input", self.input),
            ("recurrent", self.recurrent),
            ("zoneout_h", self.zoneout_h),
            ("zoneout_c", self.zoneout_c),
            ("weights", self.weights),
        ];
        for (name, rate) in rates {
            if !(0.0..1.0).contains(&rate) {
                bail!("recurrent_dropout {name}: expected a rate in [0, 1), got {rate}")
            }
        }
        for (field, rate) in [("h", self.zoneout_h), ("c", self.zoneout_c)] {
            if rate > 0.0 && !fields.contains(&field) {
                bail!(
                    "recurrent_dropout zoneout_{field}: expected a cell whose state has the field \
                     {field}, got {fields:?}"
                )
            }
        }
        Ok(())
    }

    /// The input with its mask.
    pub(crate) fn inputs(&self, xs: &Sequence, context: &ForwardContext) -> Result<Sequence> {
        let (Some(key), true) = (context.key, self.input > 0.0) else { return Ok(xs.clone()) };
        let (batch, _, input) = xs.values().dims3()?;
        let mask = mask(
            key,
            "variational input",
            context.layer_id,
            self.input,
            &[batch, 1, input],
            xs.values(),
        )?;
        xs.with_values(xs.values().broadcast_mul(&mask)?)
    }

    /// The weights with their masks, in their order.
    pub(crate) fn params(
        &self,
        params: Vec<(String, Tensor)>,
        context: &ForwardContext,
    ) -> Result<Vec<Tensor>> {
        let dropped = |(name, param): (String, Tensor)| match context.key {
            Some(key) if self.weights > 0.0 && name.starts_with("weight_hh") => {
                let kind = format!("weight drop {name}"); // one mask for each matrix
                &param * mask(key, &kind, context.layer_id, self.weights, param.dims(), &param)?
            }
            _ => Ok(param),
        };
        params.into_iter().map(dropped).collect()
    }

    /// The dropout mask and zoneout of every step.
    pub(crate) fn step_masks(
        &self,
        fields: &[&str],
        context: &ForwardContext,
        batch: usize,
        output: usize,
        like: &Tensor,
    ) -> Result<StepMasks> {
        let recurrent = match context.key {
            Some(key) if self.recurrent > 0.0 => {
                let name = "variational recurrent";
                Some(mask(key, name, context.layer_id, self.recurrent, &[batch, output], like)?)
            }
            _ => None,
        };
        let zoneout = |field: &&str| {
            let rate = self.zoneout_rate(field);
            (rate > 0.0).then(|| Zoneout::new(rate, context.key, context.layer_id, field))
        };
        Ok(StepMasks { recurrent, zoneout: fields.iter().map(zoneout).collect() })
    }
}

/// The dropout mask and zoneout of every step of one run.
#[derive(Clone, Debug, Default)]
pub struct StepMasks {
    /// The mask of the last output as input of the recurrent matrices, `(batch, output)`.
    pub recurrent: Option<Tensor>,
    /// The zoneout of each field of the state; may be shorter than the fields.
    pub zoneout: Vec<Option<Zoneout>>,
}

impl StepMasks {
    /// The zoneout of field `index`.
    pub fn zoneout(&self, index: usize) -> Option<Zoneout> {
        self.zoneout.get(index).copied().flatten()
    }
}

/// Zoneout of one field: field' = k ∘ field + (1 − k) ∘ new.
///
/// k is a function of (key, layer, field, step, example, unit). It is not stored; the backward pass
/// computes it again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zoneout {
    rate: f64,
    key: Option<u64>, // `None` in evaluation
}

impl Zoneout {
    fn new(rate: f64, step_key: Option<StepKey>, layer_id: LayerId, field: &str) -> Self {
        let key = |step_key: StepKey| {
            name_key(
                step_key.seed,
                &format!("zoneout {field} {} {}", step_key.step, layer_id.suffix()),
            )
        };
        Self { rate, key: step_key.map(key) }
    }

    /// k of the units from `first` on of example `row` at step `step`, all counted from 0: 0 or 1
    /// in training, the rate in evaluation.
    #[inline(always)]
    pub fn fill<F: Copy>(
        &self,
        step: usize,
        row: usize,
        first: usize,
        k: &mut [F],
        from: impl Fn(f64) -> F,
    ) {
        let (zero, one) = (from(0.0), from(1.0));
        let Some(key) = self.key else { return k.fill(from(self.rate)) };
        let threshold = (self.rate * 2f64.powi(32)) as u64;
        let start = mix(mix(key.wrapping_add(step as u64)).wrapping_add(row as u64));
        for (unit, k) in (first..).zip(k) {
            // The unit-th output of a SplitMix64 generator that starts there.
            let drawn =
                mix(start.wrapping_add((unit as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 32;
            *k = if drawn < threshold { one } else { zero };
        }
    }

    /// k of all examples at step `step`, `(batch, size)`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn at(&self, step: usize, batch: usize, size: usize, like: &Tensor) -> Result<Tensor> {
        let mut k = vec![0f64; batch * size];
        k.chunks_exact_mut(size).enumerate().for_each(|(row, k)| self.fill(step, row, 0, k, |k| k));
        Tensor::from_vec(k, (batch, size), like.device())?.to_dtype(like.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zoneout_keeps_its_share_and_is_drawn_at_every_step() {
        let zoneout =
            Zoneout::new(0.3, Some(StepKey { seed: 1, step: 2 }), LayerId::default(), "h");
        let k = |step, row| {
            let mut k = [0.0; 1000];
            zoneout.fill(step, row, 0, &mut k, |k| k);
            k
        };
        assert_eq!(k(3, 4), k(3, 4));
        for other in [k(4, 3), k(4, 4), k(3, 5)] {
            let same = k(3, 4).iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(
                (450..710).contains(&same),
                "masks of other steps and rows agree by chance: {same}"
            );
        }
        let kept: f64 = (0..200).map(|step| k(step, 0).iter().sum::<f64>()).sum();
        assert!((kept / 2e5 - 0.3).abs() < 0.005, "{kept}");
        let evaluated = Zoneout::new(0.3, None, LayerId::default(), "h");
        let mut k = [0.0; 3];
        evaluated.fill(7, 7, 0, &mut k, |k| k);
        assert_eq!(k, [0.3; 3]);
    }

    #[test]
    fn rates_are_checked() {
        assert!(RecurrentDropout { recurrent: 1.0, ..RecurrentDropout::default() }
            .check(&["h"])
            .is_err());
        assert!(RecurrentDropout::zoneout(0.1, 0.2).check(&["h"]).is_err());
        assert!(RecurrentDropout::zoneout(0.1, 0.2).check(&["h", "c"]).is_ok());
    }
}
