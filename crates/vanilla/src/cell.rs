//! One step of a vanilla network.

use candle_core::{Result, Tensor};
use recurrent_core::description::{Builder, Value};
use recurrent_core::{project_orthogonal, GateWeights, HiddenState, Nonlinearity, Params};
use recurrent_kernels::Describe;

/// One step of a vanilla network; see the [crate] for equations and weights.
#[derive(Clone, Debug, Params)]
pub struct VanillaCell {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) nonlinearity: Nonlinearity,
}

impl VanillaCell {
    /// Replaces W_hh by `gain` times its nearest orthogonal matrix; all singular values are then
    /// `gain`. Called after every training step, or every few, it keeps W_hh orthogonal, whatever
    /// the optimiser does.
    ///
    /// The nearest orthogonal matrix is the polar factor; see [`recurrent_core::polar_factor`].
    /// Vorontsov et al. (2017, arXiv:1702.00071) measure the benefit and the cost of singular
    /// values near 1.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_nn::{Optimizer, VarBuilder, VarMap, SGD};
    /// use recurrent_core::{Layer, ForwardContext, Sequence};
    /// use recurrent_vanilla::{Vanilla, VanillaConfig};
    ///
    /// # fn main() -> candle_core::Result<()> {
    /// let vars = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    /// let rnn = Vanilla::new(3, 8, &VanillaConfig::default(), vb)?;
    /// let mut optimiser = SGD::new(vars.all_vars(), 0.1)?;
    /// let xs = Sequence::new(candle_core::Tensor::ones((2, 50, 3), DType::F64, &Device::Cpu)?)?;
    /// for _ in 0..3 {
    ///     let (last, _) = rnn.last(&xs, None, &ForwardContext::default())?;
    ///     optimiser.backward_step(&last.sqr()?.mean_all()?)?;
    ///     rnn.cell().project_orthogonal(1.0)?;
    /// }
    /// let (_, w) = rnn.recurrent_blocks()?.remove(0);
    /// let off = (w.matmul(&w.t()?)? - candle_core::Tensor::eye(8, DType::F64, &Device::Cpu)?)?;
    /// assert!(off.abs()?.max_all()?.to_scalar::<f64>()? < 1e-10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If W_hh is not a variable, not finite or not of full rank, or `gain` is not finite.
    pub fn project_orthogonal(&self, gain: f64) -> Result<()> {
        project_orthogonal(&self.weights.weight_hh, gain)
    }
}

impl Describe for VanillaCell {
    type State = HiddenState;

    const KERNEL: &'static str = "vanilla kernel";

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let [a] = cell.gates(&cell.recurrent());
        vec![a.nonlinearity(self.nonlinearity)]
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.weights.recurrent_blocks()
    }
}
