//! Penalties in the loss for the sake of the gradient.

use crate::config::TrainingConfig;
use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use recurrent_core::{
    ActivationRecorder, ForwardContext, GradientRecorder, Layer, Record, Sequence,
};
use recurrent_measures::omega_penalty;
use recurrent_train::Params;

/// The penalties in the loss at one training step.
pub(super) struct Penalties<'a> {
    training: &'a TrainingConfig,
    layer: &'a dyn Layer,
    recorder: GradientRecorder,
    activations: ActivationRecorder,
}

impl<'a> Penalties<'a> {
    pub(super) fn new(training: &'a TrainingConfig, layer: &'a dyn Layer) -> Self {
        Self {
            training,
            layer,
            recorder: GradientRecorder::new(Record::Gradients),
            activations: ActivationRecorder::default(),
        }
    }

    /// The forward context of the batch, with a recorder if Ω needs one.
    pub(super) fn watched<'b>(&'b self, context: ForwardContext<'b>) -> ForwardContext<'b> {
        match self.training.omega > 0.0 {
            true => context.record(&self.recorder).activations(&self.activations),
            false => context,
        }
    }

    /// The loss plus the penalties that can be added before the backward pass.
    pub(super) fn with_loss(&self, loss: &Tensor) -> candle_core::Result<Tensor> {
        match self.training.orthogonality > 0.0 {
            true => loss + (orthogonality(self.layer)? * self.training.orthogonality)?,
            false => Ok(loss.clone()),
        }
    }

    /// Adds the gradient of Ω to that of the loss. Ω is a function of the gradient that was
    /// propagated back through time. As in the authors' program, only the recurrent weights get its
    /// gradient.
    pub(super) fn add_omega(
        &self,
        xs: &Sequence,
        params: &Params,
        grads: &mut GradStore,
    ) -> Result<()> {
        if self.training.omega > 0.0 {
            let (traces, seen) = (self.recorder.take(), self.activations.take());
            let [seen] = &seen[..] else {
                return Err(Error::Layer(format!(
                    "omega: expected one recurrent layer, found {}",
                    seen.len()
                )));
            };
            let omega = omega_penalty(self.layer, xs, &traces, seen)?;
            let own = (omega * self.training.omega)?.backward()?;
            for (_, var) in params.iter() {
                if let Some(own) = own.get(var) {
                    let sum = grads.get(var).map_or(Ok(own.clone()), |grad| grad + own)?;
                    grads.insert(var, sum);
                }
            }
        }
        Ok(())
    }
}

/// Refuses penalties that are not defined for the layer.
///
/// # Errors
/// In one line.
pub(crate) fn check(
    training: &TrainingConfig,
    layer: &dyn Layer,
    dtype: DType,
    device: &Device,
) -> Result<()> {
    if training.omega > 0.0 {
        one_in_closed_form(layer, dtype, device)?;
    }
    if training.orthogonality > 0.0 && layer.recurrent_blocks()?.is_empty() {
        return Err(Error::Layer(
            "orthogonality: expected a layer that shows its recurrent \
            blocks, found one that shows none"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Ω needs a single layer with a closed form of the backward pass through a step.
fn one_in_closed_form(layer: &dyn Layer, dtype: DType, device: &Device) -> Result<()> {
    if layer.depth() != 1 {
        return Err(Error::Layer(format!(
            "omega: expected one recurrent layer, found {}",
            layer.depth()
        )));
    }
    let x = Tensor::zeros((1, layer.input_size()), dtype, device)?;
    let (_, carry) =
        layer.last(&Sequence::new(x.unsqueeze(1)?)?, None, &ForwardContext::default())?;
    if layer.vjp(&x, &carry, &carry)?.is_none() {
        return Err(Error::Layer(
            "omega: expected a layer with a closed-form \
            vector-Jacobian product of a step, found one without"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Soft orthogonality, Σ ‖W Wᵀ − I‖² over the square recurrent blocks W of a layer, as part of the
/// graph. It is zero if every W preserves norms.
///
/// Vorontsov, Trabelsi, Kadoury and Pal 2017 (arXiv:1702.00071) use it as a soft constraint on
/// recurrent matrices.
fn orthogonality(layer: &dyn Layer) -> candle_core::Result<Tensor> {
    let penalties = layer.recurrent_blocks()?.into_iter().map(|(_, block)| {
        let identity = Tensor::eye(block.dim(0)?, block.dtype(), block.device())?;
        (block.matmul(&block.t()?)? - identity)?.sqr()?.sum_all()
    });
    let penalties = penalties.collect::<candle_core::Result<Vec<_>>>()?;
    Tensor::stack(&penalties, 0)?.sum_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;
    use candle_core::Var;
    use recurrent_core::{linear, Carry};

    /// A layer of two recurrent blocks, whose step multiplies by one after the other.
    struct Blocks(Tensor, Tensor);

    impl Layer for Blocks {
        fn input_size(&self) -> usize {
            2
        }
        fn output_size(&self) -> usize {
            2
        }
        fn run(
            &self,
            xs: &Sequence,
            _: Option<&Carry>,
            _: &ForwardContext,
        ) -> candle_core::Result<(Sequence, Carry)> {
            let h = linear(&linear(&xs.values().squeeze(1)?, &self.0, None)?, &self.1, None)?;
            Ok((xs.clone(), Carry::Cell(vec![("h", h)])))
        }
        fn params(&self) -> Vec<(String, Tensor)> {
            Vec::new()
        }
        fn recurrent_blocks(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
            Ok(vec![("a".to_string(), self.0.clone()), ("b".to_string(), self.1.clone())])
        }
    }

    #[test]
    fn soft_orthogonality_is_a_sum_over_blocks_with_gradient_4_off_w() -> Result<()> {
        let a = Var::new(&[[1.0, 2.0], [0.0, -1.0]], &Device::Cpu)?;
        let b = Var::new(&[[0.6, -0.8], [0.8, 0.6]], &Device::Cpu)?; // a rotation
        let penalty = orthogonality(&Blocks(a.as_tensor().clone(), b.as_tensor().clone()))?;
        // A Aᵀ − I = [[4, -2], [-2, 0]], whose squares sum to 24; 4 (A Aᵀ − I) A = 4 [[4, 10], [-2,
        // -4]].
        assert!((penalty.to_scalar::<f64>()? - 24.0).abs() < 1e-14);
        let grads = penalty.backward()?;
        assert_eq!(
            grads.get(&a).expect("in the graph").to_vec2::<f64>()?,
            [[16.0, 40.0], [-8.0, -16.0]]
        );
        let of_b = grads.get(&b).expect("in the graph").abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(of_b < 1e-14, "{of_b}");
        let error = check(
            &TrainingConfig { omega: 1.0, ..TrainingConfig::default() },
            &Blocks(a.as_tensor().clone(), b.as_tensor().clone()),
            DType::F64,
            &Device::Cpu,
        );
        let error = error.expect_err("it has no closed form").to_string();
        assert!(
            error.starts_with("omega: expected a layer with a closed-form vector-Jacobian product"),
            "{error}"
        );
        Ok(())
    }
}
