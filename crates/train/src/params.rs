//! The named variables of a model, in one fixed order.

use std::collections::HashMap;

use candle_core::{bail, DType, Result, Tensor, Var};
use candle_nn::VarMap;

use crate::state_dict::{self, StateDict};

/// The named trainable variables of a model, sorted by name.
///
/// `VarMap` iterates in random order, so a sum over its variables differs in the last digits from
/// one process to the next. This crate works on `Params`, so always in the same order.
///
/// Cloning is cheap and shares the variables: a clone sees every update.
///
/// A `VarMap` also holds variables that are not trained, such as the running statistics of a batch
/// norm. Leave these out with [`Params::select`], since [`GradientWatch`](crate::GradientWatch)
/// stops at a parameter without gradient.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent_train::Params;
///
/// # fn main() -> candle_core::Result<()> {
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
/// candle_nn::linear(3, 2, vb.pp("out"))?;
/// candle_nn::linear(5, 3, vb.pp("hidden"))?;
///
/// let params = Params::from_varmap(&map)?;
/// let names: Vec<_> = params.names().collect();
/// assert_eq!(names, ["hidden.bias", "hidden.weight", "out.bias", "out.weight"]);
/// assert_eq!(params.element_count(), 3 + 15 + 2 + 6);
/// assert_eq!(params.with_prefix("out.").element_count(), 2 + 6);
/// assert_eq!(params.select(|name| name.ends_with("bias")).len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<(String, Var)>,
}

impl Params {
    /// Takes named variables in any order.
    ///
    /// # Errors
    ///
    /// If a name occurs twice, if two names belong to one variable (an optimiser would update it
    /// twice), or if a dtype is not one of f16, bf16, f32 and f64.
    pub fn new(vars: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        let mut entries: Vec<(String, Var)> = vars.into_iter().collect();
        entries.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut seen = HashMap::new();
        for (index, (name, var)) in entries.iter().enumerate() {
            if index > 0 && entries[index - 1].0 == *name {
                bail!("params: expected distinct names, found '{name}' twice");
            }
            if !matches!(var.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
                bail!(
                    "params '{name}': expected dtype f16, bf16, f32 or f64, found {}",
                    var.dtype().as_str()
                );
            }
            if let Some(first) = seen.insert(var.id(), name) {
                bail!(
                    "params: expected distinct variables, found one variable as '{first}' and as \
                      '{name}'"
                );
            }
        }
        Ok(Self { entries })
    }

    /// All variables of a `VarMap`. Build the layers first: they create its variables.
    ///
    /// # Errors
    ///
    /// If the map is empty; as [`Params::new`].
    pub fn from_varmap(map: &VarMap) -> Result<Self> {
        let Ok(data) = map.data().lock() else {
            bail!("params varmap: its lock is poisoned, another thread panicked while it held it");
        };
        if data.is_empty() {
            bail!(
                "params varmap: expected variables, found an empty map; build the layers first, \
                 with VarBuilder::from_varmap of this map"
            );
        }
        Self::new(data.iter().map(|(name, var)| (name.clone(), var.clone())))
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no variable.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of elements of all variables together: the parameter count of the model.
    pub fn element_count(&self) -> usize {
        self.entries.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// The variables and their names, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.entries.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        let index = self.entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).ok()?;
        Some(&self.entries[index].1)
    }

    /// The variables with chosen names; the result may be empty.
    pub fn select(&self, mut choose: impl FnMut(&str) -> bool) -> Self {
        Self { entries: self.entries.iter().filter(|(name, _)| choose(name)).cloned().collect() }
    }

    /// The variables whose names start with `prefix`, under their full names.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        self.select(|name| name.starts_with(prefix))
    }

    /// A copy of all values, to be saved with `candle_core::safetensors::save`.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn state(&self) -> Result<StateDict> {
        self.iter().map(|(name, var)| Ok((name.to_string(), state_dict::copy(var)?))).collect()
    }

    /// Sets all variables to the values of [`Params::state`], on any device.
    ///
    /// # Errors
    ///
    /// Lists all missing, superfluous and misshapen tensors in one message; no variable changes in
    /// that case.
    pub fn load_state(&self, state: &StateDict) -> Result<()> {
        let expected =
            self.iter().map(|(name, var)| (name.to_string(), var.dtype(), var.shape().clone()));
        state_dict::check("params state", expected, state)?;
        for (name, var) in self.iter() {
            let value: &Tensor = &state[name];
            var.set(&value.to_device(var.device())?.detach().force_contiguous()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn var(values: &[f32]) -> Var {
        Var::from_slice(values, values.len(), &Device::Cpu).expect("a plain vector")
    }

    #[test]
    fn order_is_by_name_and_get_finds_each() -> Result<()> {
        let params = Params::new(["b", "c", "a"].map(|name| (name.to_string(), var(&[1.0]))))?;
        assert_eq!(params.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        for (name, var) in params.iter() {
            assert_eq!(params.get(name).map(|found| found.id()), Some(var.id()));
        }
        assert!(params.get("d").is_none());
        Ok(())
    }

    #[test]
    fn doubtful_variables_are_refused_by_name() -> Result<()> {
        let twice = Params::new(["a", "a"].map(|name| (name.to_string(), var(&[1.0]))));
        let twice = twice.expect_err("one name twice").to_string();
        assert!(twice.contains("expected distinct names, found 'a' twice"), "{twice}");

        let shared = var(&[1.0]);
        let tied = Params::new(["a", "b"].map(|name| (name.to_string(), shared.clone())));
        let tied = tied.expect_err("one variable under two names").to_string();
        assert!(tied.contains("found one variable as 'a' and as 'b'"), "{tied}");

        let index = Var::from_slice(&[1u32], 1, &Device::Cpu)?;
        let index =
            Params::new([("index".to_string(), index)]).expect_err("an integer").to_string();
        assert!(
            index.contains("'index': expected dtype f16, bf16, f32 or f64, found u32"),
            "{index}"
        );

        let empty = Params::from_varmap(&VarMap::new()).expect_err("no layer yet").to_string();
        assert!(empty.contains("params varmap: expected variables, found an empty map"), "{empty}");
        Ok(())
    }

    #[test]
    fn state_is_a_copy_and_comes_back() -> Result<()> {
        let params =
            Params::new([("a".to_string(), var(&[1.0, 2.0])), ("b".to_string(), var(&[3.0]))])?;
        let state = params.state()?;
        for (_, var) in params.iter() {
            var.set(&var.zeros_like()?)?;
        }
        params.load_state(&state)?;
        let values = |name: &str| params.get(name).expect("present").to_vec1::<f32>();
        assert_eq!((values("a")?, values("b")?), (vec![1.0, 2.0], vec![3.0]));
        Ok(())
    }

    #[test]
    fn a_wrong_state_changes_nothing() -> Result<()> {
        let params =
            Params::new([("a".to_string(), var(&[1.0, 2.0])), ("b".to_string(), var(&[3.0]))])?;
        let mut state = params.state()?;
        state.insert("a".to_string(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        state.insert("b".to_string(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        assert!(params.load_state(&state).is_err());
        assert_eq!(params.get("a").expect("present").to_vec1::<f32>()?, [1.0, 2.0]);
        Ok(())
    }
}
