//! Parameter groups: learning-rate scale, weight decay and freezing, chosen by name.

use candle_core::{bail, Result, Var};
use serde::{Deserialize, Serialize};

use crate::params::Params;

/// The settings of an optimiser for one group of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParamGroup {
    /// Multiplies the optimiser's learning rate. Default 1.
    pub lr_scale: f64,
    /// Weight decay in place of the optimiser's own; `None`, the default, keeps the optimiser's.
    pub weight_decay: Option<f64>,
    /// A frozen parameter is neither updated nor part of
    /// [`Optimizer::trainable`](crate::Optimizer::trainable), so neither clipped nor watched.
    /// Default false.
    pub frozen: bool,
}

impl Default for ParamGroup {
    fn default() -> Self {
        Self { lr_scale: 1.0, weight_decay: None, frozen: false }
    }
}

impl ParamGroup {
    /// No weight decay: the usual choice for biases and for the weights of normalisation layers.
    pub fn without_decay() -> Self {
        Self { weight_decay: Some(0.0), ..Self::default() }
    }

    /// No updates, clipping or watching.
    pub fn frozen() -> Self {
        Self { frozen: true, ..Self::default() }
    }

    fn validate(&self) -> Result<()> {
        if !(self.lr_scale.is_finite() && self.lr_scale >= 0.0) {
            bail!("group lr_scale: expected a finite number >= 0, found {}", self.lr_scale);
        }
        if let Some(decay) = self.weight_decay {
            if !(decay.is_finite() && decay >= 0.0) {
                bail!("group weight_decay: expected a finite number >= 0, found {decay}");
            }
        }
        Ok(())
    }
}

/// The parameters of a model, each with its [`ParamGroup`].
///
/// All start in `ParamGroup::default()`. [`ParamGroups::with`] moves the chosen parameters; the
/// last choice of a parameter holds, with all its settings.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent_train::{AdamW, AdamWConfig, ParamGroup, ParamGroups, Optimizer, Params};
///
/// # fn main() -> candle_core::Result<()> {
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// candle_nn::embedding(10, 4, vb.pp("embedding"))?;
/// candle_nn::linear(4, 2, vb.pp("out"))?;
///
/// let groups = ParamGroups::new(&Params::from_varmap(&map)?)
///     .with(ParamGroup::without_decay(), |name| name.ends_with("bias"))?
///     .with(ParamGroup::frozen(), |name| name.starts_with("embedding."))?;
/// let optimizer = AdamW::new(groups, AdamWConfig { weight_decay: 0.01, ..Default::default() })?;
/// assert_eq!(optimizer.trainable().names().collect::<Vec<_>>(), ["out.bias", "out.weight"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParamGroups {
    entries: Vec<(String, Var, ParamGroup)>,
}

impl ParamGroups {
    /// Every parameter in the default group.
    pub fn new(params: &Params) -> Self {
        let entries =
            params.iter().map(|(name, var)| (name.to_string(), var.clone(), ParamGroup::default()));
        Self { entries: entries.collect() }
    }

    /// Moves the parameters whose names are chosen into `group`.
    ///
    /// # Errors
    ///
    /// If the choice is empty, which is usually a misspelt name, or if a number of the group is
    /// negative or not finite.
    pub fn with(mut self, group: ParamGroup, mut choose: impl FnMut(&str) -> bool) -> Result<Self> {
        group.validate()?;
        let mut chosen = 0;
        for (name, _, own) in &mut self.entries {
            if choose(name) {
                *own = group;
                chosen += 1;
            }
        }
        if chosen == 0 {
            let names: Vec<&str> = self.entries.iter().map(|(name, ..)| name.as_str()).collect();
            bail!("groups choose: expected to choose some of [{}], chose none", names.join(", "));
        }
        Ok(self)
    }

    /// The parameters with their groups, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var, &ParamGroup)> {
        self.entries.iter().map(|(name, var, group)| (name.as_str(), var, group))
    }
}

impl From<&Params> for ParamGroups {
    fn from(params: &Params) -> Self {
        Self::new(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn params() -> Result<Params> {
        let var =
            |name: &str| Result::Ok((name.to_string(), Var::zeros(2, DType::F32, &Device::Cpu)?));
        Params::new([var("a.bias")?, var("a.weight")?, var("b.bias")?])
    }

    #[test]
    fn the_last_choice_wins() -> Result<()> {
        let slow = ParamGroup { lr_scale: 0.1, ..ParamGroup::default() };
        let groups = ParamGroups::new(&params()?)
            .with(ParamGroup::without_decay(), |name| name.ends_with("bias"))?
            .with(slow, |name| name.starts_with("b."))?;
        let found: Vec<ParamGroup> = groups.iter().map(|(_, _, group)| *group).collect();
        assert_eq!(found, [ParamGroup::without_decay(), ParamGroup::default(), slow]);
        Ok(())
    }

    #[test]
    fn empty_choices_and_bad_numbers_are_refused() -> Result<()> {
        let groups = ParamGroups::new(&params()?);
        let none = groups
            .clone()
            .with(ParamGroup::frozen(), |name| name == "c")
            .expect_err("no such name");
        assert!(none.to_string().contains("[a.bias, a.weight, b.bias], chose none"), "{none}");
        for group in [
            ParamGroup { lr_scale: -1.0, ..ParamGroup::default() },
            ParamGroup { lr_scale: f64::NAN, ..ParamGroup::default() },
            ParamGroup { weight_decay: Some(f64::INFINITY), ..ParamGroup::default() },
            ParamGroup { weight_decay: Some(-0.1), ..ParamGroup::default() },
        ] {
            assert!(groups.clone().with(group, |_| true).is_err(), "{group:?}");
        }
        Ok(())
    }
}
