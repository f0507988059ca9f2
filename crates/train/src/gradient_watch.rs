//! Checks that gradients are present, finite, and not dead.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::backprop::GradStore;
use candle_core::{bail, Result, WithDType};
use serde::{Deserialize, Serialize};

use crate::gradient_fault::{GradientFault, ZeroCause, ZeroGradient};
use crate::norms::{reduce, tensor_norm, Reduction};
use crate::params::Params;

/// The most names in a message.
const SHOWN_NAMES: usize = 8;

/// Watches the gradients of a model, step by step, between the backward pass and clipping.
///
/// It stops, with the step and the names of all parameters concerned, if
///
/// 1. the loss is NaN or infinite;
/// 2. a parameter has no gradient. This finds operations that silently cut the graph, among them
///    `candle_nn::LayerNorm` and `RmsNorm` on contiguous input, and `softmax_last_dim`;
/// 3. a gradient holds NaN or infinity;
/// 4. a gradient was exactly zero in all of the first 10 steps (see [`GradientWatch::zero_steps`]),
///    unless the parameter was declared with [`GradientWatch::allow_zero`] or underflow was
///    reported with [`GradientWatch::report_underflow`].
///
/// Other zeros are returned as warnings: one for each unbroken series of zeros, at its first step,
/// and one more when point 4 is excused. Nothing is printed.
///
/// Give it [`Optimizer::trainable`](crate::Optimizer::trainable), so that frozen parameters are
/// left out.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{GradientWatch, Params};
///
/// # fn main() -> candle_core::Result<()> {
/// let used = Var::new(&[1f32, 2.0], &Device::Cpu)?;
/// let unused = Var::new(&[3f32], &Device::Cpu)?;
/// let params = Params::new([("used".to_string(), used.clone()), ("unused".to_string(), unused)])?;
///
/// let loss = used.sqr()?.sum_all()?;
/// let mut watch = GradientWatch::new(&params)?;
/// let fault = watch.check(0, 5.0, &loss.backward()?).expect_err("one parameter has no gradient");
/// assert!(fault.to_string().contains("found none for 'unused'"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GradientWatch {
    params: Params,
    zero_steps: u64,
    allowed: BTreeMap<String, String>,
    state: GradientWatchState,
}

/// The state of a [`GradientWatch`]; save it with a checkpoint so that a resumed run stops and
/// warns at the same steps as an uninterrupted one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientWatchState {
    /// Number of checks that passed.
    pub checked: u64,
    /// Whether underflow was reported.
    pub underflow: bool,
    /// Parameters that had a nonzero gradient at some step.
    pub alive: BTreeSet<String>,
    /// Parameters whose gradient was zero at the last step.
    pub zero: BTreeSet<String>,
}

impl GradientWatch {
    /// Watches all of `params`, with 10 first steps.
    ///
    /// # Errors
    ///
    /// If `params` is empty: there would be nothing to check.
    pub fn new(params: &Params) -> Result<Self> {
        if params.is_empty() {
            bail!(
                "gradient watch params: expected parameters to watch, found no parameters; build \
                 the layers before the watch"
            );
        }
        Ok(Self {
            params: params.clone(),
            zero_steps: 10,
            allowed: BTreeMap::new(),
            state: GradientWatchState::default(),
        })
    }

    /// Sets the number of first steps: a gradient that is zero in all of them is dead.
    ///
    /// # Errors
    ///
    /// If `steps` is 0.
    pub fn zero_steps(mut self, steps: u64) -> Result<Self> {
        if steps == 0 {
            bail!("gradient watch zero_steps: expected at least 1, found 0");
        }
        self.zero_steps = steps;
        Ok(self)
    }

    /// Allows a parameter to have a gradient of zero from the start, with a reason for the
    /// warnings. An example is a ReZero branch, whose scale of 0 at the start blocks the gradient
    /// of its weights.
    ///
    /// # Errors
    ///
    /// If there is no such parameter or the reason is empty.
    pub fn allow_zero(mut self, name: &str, reason: &str) -> Result<Self> {
        if self.params.get(name).is_none() {
            let names: Vec<&str> = self.params.names().collect();
            let (first, rest) = names.split_at(names.len().min(SHOWN_NAMES));
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            bail!(
                "gradient watch allow_zero: expected one of [{}]{more}, found '{name}'",
                first.join(", ")
            );
        }
        if reason.trim().is_empty() {
            bail!("gradient watch allow_zero '{name}': expected a reason, found none");
        }
        self.allowed.insert(name.to_string(), reason.to_string());
        Ok(self)
    }

    /// Reports that gradients underflowed somewhere in the backward pass. From now on a parameter
    /// with a zero gradient does not count as dead, since the zero may be an underflow.
    pub fn report_underflow(&mut self) {
        self.state.underflow = true;
    }

    /// Checks the loss and the gradients of one step. `step` only serves to name it.
    ///
    /// # Errors
    ///
    /// The first of the four points above that applies.
    pub fn check(
        &mut self,
        step: u64,
        loss: f64,
        grads: &GradStore,
    ) -> std::result::Result<Vec<ZeroGradient>, GradientFault> {
        if !loss.is_finite() {
            return Err(GradientFault::Loss { step, loss });
        }
        let mut absent = Vec::new();
        let mut not_finite = Vec::new();
        let mut zero = BTreeSet::new();
        for (name, var) in self.params.iter() {
            let Some(grad) = grads.get(var) else {
                absent.push(name.to_string());
                continue;
            };
            let norm = tensor_norm(grad)?;
            if norm == 0.0 {
                zero.insert(name.to_string());
            } else if !norm.is_finite() {
                let (nan, infinite) = reduce(grad, CountNotFinite)?;
                // the norm of finite f64 gradients may exceed f64, which is not a fault
                if nan + infinite > 0 {
                    not_finite.push((name.to_string(), nan, infinite));
                }
            }
        }
        if !absent.is_empty() {
            return Err(GradientFault::Absent { step, names: absent });
        }
        if !not_finite.is_empty() {
            return Err(GradientFault::NotFinite { step, found: not_finite });
        }
        self.classify_zeros(step, zero)
    }

    fn classify_zeros(
        &mut self,
        step: u64,
        zero: BTreeSet<String>,
    ) -> std::result::Result<Vec<ZeroGradient>, GradientFault> {
        self.state.checked += 1;
        let not_zero = self.params.names().filter(|name| !zero.contains(*name)).map(str::to_string);
        self.state.alive.extend(not_zero);

        let decisive = self.state.checked == self.zero_steps;
        let mut warnings = Vec::new();
        let mut dead = Vec::new();
        for name in &zero {
            let cause = match self.allowed.get(name) {
                Some(reason) => ZeroCause::Allowed(reason.clone()),
                None if self.state.underflow => ZeroCause::Underflow,
                None => ZeroCause::Unknown,
            };
            let never_alive = decisive && !self.state.alive.contains(name);
            if never_alive && cause == ZeroCause::Unknown {
                dead.push(name.clone());
            } else if never_alive || !self.state.zero.contains(name) {
                warnings.push(ZeroGradient { name: name.clone(), step, cause });
            }
        }
        self.state.zero = zero;
        if !dead.is_empty() {
            return Err(GradientFault::Dead { step, watched: self.zero_steps, names: dead });
        }
        Ok(warnings)
    }

    /// The state, to be saved.
    pub fn state(&self) -> &GradientWatchState {
        &self.state
    }

    /// Restores a saved state.
    ///
    /// # Errors
    ///
    /// If the state names a parameter that is not watched.
    pub fn load_state(&mut self, state: GradientWatchState) -> Result<()> {
        let unknown =
            state.alive.iter().chain(&state.zero).filter(|name| self.params.get(name).is_none());
        let unknown: BTreeSet<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            let unknown: Vec<&str> = unknown.into_iter().collect();
            bail!(
                "gradient watch state: expected watched parameters, found [{}]",
                unknown.join(", ")
            );
        }
        self.state = state;
        Ok(())
    }
}

/// Counts NaN and infinities.
struct CountNotFinite;

impl Reduction for CountNotFinite {
    type Output = (usize, usize);
    fn reduce<T: WithDType>(self, values: &[T]) -> (usize, usize) {
        let nan = values.iter().filter(|value| value.to_f64().is_nan()).count();
        let infinite = values.iter().filter(|value| value.to_f64().is_infinite()).count();
        (nan, infinite)
    }
}
