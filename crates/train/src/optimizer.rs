//! The trait of all optimisers.

use candle_core::backprop::GradStore;
use candle_core::Result;

use crate::params::Params;
use crate::state_dict::StateDict;

/// An optimiser whose whole state can be saved and restored.
///
/// A run that is saved and resumed continues with the same bits as one that was never interrupted:
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{Optimizer, Params, Sgd, SgdConfig};
///
/// # fn main() -> candle_core::Result<()> {
/// let w = Var::new(&[3f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut optimizer = Sgd::new(&params, SgdConfig { lr: 0.5, ..Default::default() })?;
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(w.to_vec1::<f32>()?, [0.0, 0.0]);
///
/// let name = format!("recurrent-train-doc-{}.safetensors", std::process::id());
/// let path = std::env::temp_dir().join(name);
/// candle_core::safetensors::save(&optimizer.state()?, &path)?;
/// let mut resumed = Sgd::new(&params, SgdConfig::default())?;
/// resumed.load_state(&candle_core::safetensors::load(&path, &Device::Cpu)?)?;
/// assert_eq!((resumed.steps(), resumed.lr()), (1, 0.5));
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub trait Optimizer: Send {
    /// Updates every trainable parameter that has a gradient in `grads`.
    ///
    /// A parameter without gradient does not change, nor does its step counter, as in PyTorch. To
    /// detect this, check the gradients with [`GradientWatch`](crate::GradientWatch) first.
    ///
    /// The variables change in place. candle's graph shares their storage, so do not run the
    /// backward pass of an older graph after a step: its gradients would be silently wrong.
    ///
    /// # Errors
    ///
    /// If shape, dtype or device of a gradient are not those of its parameter. This is checked
    /// before any change.
    fn step(&mut self, grads: &GradStore) -> Result<()>;

    /// The learning rate, before the scale of a [`ParamGroup`](crate::ParamGroup).
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps.
    ///
    /// # Errors
    ///
    /// If `lr` is negative or not finite.
    fn set_lr(&mut self, lr: f64) -> Result<()>;

    /// Number of steps so far, over all resumed parts of a run: the argument of a
    /// [`Schedule`](crate::Schedule).
    fn steps(&self) -> u64;

    /// The parameters that are not frozen, for clipping and watching.
    fn trainable(&self) -> &Params;

    /// A copy of everything but the parameters and the configuration.
    ///
    /// | name | dtype, shape | content |
    /// |---|---|---|
    /// | `lr` | f64, `[]` | the learning rate now |
    /// | `steps` | i64, `[]` | number of calls of `step` |
    /// | `<parameter>.step` | i64, `[]` | number of updates of this parameter |
    /// | `<parameter>.exp_avg` | shape of the parameter | `AdamW`: mean of the gradient |
    /// | `<parameter>.exp_avg_sq` | shape of the parameter | `AdamW`: mean of the squared gradient |
    /// | `<parameter>.momentum_buffer` | shape of the parameter | `Sgd` with momentum: the velocity |
    ///
    /// The names are PyTorch's. The last three have the dtype of the parameter, or f32 where that
    /// is f16 or bf16. Frozen parameters are included, so the state also fits an optimiser with
    /// other frozen parameters.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn state(&self) -> Result<StateDict>;

    /// Restores the result of [`Optimizer::state`], on any device.
    ///
    /// # Errors
    ///
    /// Lists all missing, superfluous and misshapen tensors in one message; nothing changes in that
    /// case.
    fn load_state(&mut self, state: &StateDict) -> Result<()>;
}
