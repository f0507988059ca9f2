//! What every optimiser can do.

use candle::backprop::GradStore;
use candle::Result;

use crate::params::Params;
use crate::state_dict::StateDict;

/// An optimiser whose whole state can be saved and restored.
///
/// A run that is saved and resumed continues with the same bits as one that was never interrupted:
///
/// ```
/// use candle::{Device, Var};
/// use recurrent_train::{Optimizer, Params, Sgd, SgdConfig};
///
/// # fn main() -> candle::Result<()> {
/// let w = Var::new(&[3f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut optimizer = Sgd::new(&params, SgdConfig { lr: 0.5, ..Default::default() })?;
/// optimizer.step(&w.sqr()?.sum_all()?.backward()?)?;
/// assert_eq!(w.to_vec1::<f32>()?, [0.0, 0.0]);
///
/// let path = std::env::temp_dir().join(format!("recurrent-train-doc-{}.safetensors", std::process::id()));
/// candle::safetensors::save(&optimizer.state()?, &path)?;
/// let mut resumed = Sgd::new(&params, SgdConfig::default())?;
/// resumed.load_state(&candle::safetensors::load(&path, &Device::Cpu)?)?;
/// assert_eq!((resumed.steps(), resumed.lr()), (1, 0.5));
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub trait Optimizer: Send {
    /// Updates every trainable parameter that has a gradient in `grads`.
    ///
    /// A parameter without gradient is left as it is, and its own step counter stands still, as in PyTorch; to be
    /// told of it, check the gradients with [`GradientWatch`](crate::GradientWatch) first.
    ///
    /// The variables change in place. candle's graph shares their storage, so a graph that was built before the
    /// step must not be walked backward after it: the gradients would be wrong without a word.
    ///
    /// # Errors
    ///
    /// If shape, dtype or device of a gradient are not those of its parameter. This is checked before anything is
    /// changed.
    fn step(&mut self, grads: &GradStore) -> Result<()>;

    /// The learning rate, before the scale of a [`ParamGroup`](crate::ParamGroup).
    fn lr(&self) -> f64;

    /// Sets the learning rate for the steps to come.
    ///
    /// # Errors
    ///
    /// If `lr` is negative or not finite.
    fn set_lr(&mut self, lr: f64) -> Result<()>;

    /// Number of steps taken so far, over all resumed parts of a run; what a [`Schedule`](crate::Schedule) reads.
    fn steps(&self) -> u64;

    /// The parameters that are not frozen: what to clip and to watch.
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
    /// The names are PyTorch's. The last three have the dtype of the parameter, or f32 where that is f16 or bf16.
    /// Frozen parameters are included, so the state also fits an optimiser that thaws or freezes others.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn state(&self) -> Result<StateDict>;

    /// Restores what [`Optimizer::state`] returned, on whatever device it is.
    ///
    /// # Errors
    ///
    /// Lists all missing, superfluous and misshapen tensors in one message; in that case nothing was changed.
    fn load_state(&mut self, state: &StateDict) -> Result<()>;
}
