//! A residual connection over depth.

use candle::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::init;
use recurrent_core::{forward, Carry, Layer, Pass, Place, Pool, Sequence};

/// A layer with a residual connection around it: ys = layer(xs) + xs, or P xs where the sizes differ.
///
/// Carry, recorder and the names of the layer's weights are those of the layer inside.
pub struct Residual<L> {
    layer: L,
    projection: Option<(String, Tensor)>, // (output, input)
}

impl<L: Layer> Residual<L> {
    /// The layer with a connection around it. Where sizes differ, the projection `weight_l0`, ending as `place` says, is looked up
    /// under `proj` in `vb`, or drawn from `seed` as `torch.nn.Linear` without bias.
    ///
    /// # Errors
    /// If the projection exists with another shape.
    pub fn new(layer: L, place: Place, seed: u64, vb: VarBuilder) -> Result<Self> {
        let (input, output) = (layer.input_size(), layer.output_size());
        let projection = if input == output {
            None
        } else {
            let name = format!("weight{}", place.suffix());
            let weight = init::linear_weight(seed, input, output, &name, &vb.pp("proj"))?;
            Some((format!("proj.{name}"), weight))
        };
        Ok(Self { layer, projection })
    }

    /// How many weights the connection adds.
    pub fn param_count(input: usize, output: usize) -> usize {
        if input == output {
            0
        } else {
            input * output
        }
    }

    /// What is added to the outputs: `xs`, `(batch, time, input)`, or P xs. Zero in the padding, whatever is there in `xs`.
    fn around(&self, xs: &Sequence) -> Result<Sequence> {
        let xs = xs.zero_padding()?;
        match &self.projection {
            None => Ok(xs),
            Some((_, weight)) => xs.with_values(xs.values().broadcast_matmul(&weight.t()?)?),
        }
    }
}

impl<L: Layer> Layer for Residual<L> {
    fn input_size(&self) -> usize {
        self.layer.input_size()
    }

    fn output_size(&self) -> usize {
        self.layer.output_size()
    }

    fn reversed_size(&self) -> usize {
        self.layer.reversed_size()
    }

    fn depth(&self) -> usize {
        self.layer.depth()
    }

    fn run(&self, xs: &Sequence, carry: Option<&Carry>, pass: &Pass) -> Result<(Sequence, Carry)> {
        let (ys, carry) = self.layer.run(xs, carry, pass)?;
        let around = self.around(xs)?;
        Ok((ys.with_values((ys.values() + around.values())?)?, carry))
    }

    fn last(&self, xs: &Sequence, carry: Option<&Carry>, pass: &Pass) -> Result<(Tensor, Carry)> {
        let (y, carry) = self.layer.last(xs, carry, pass)?;
        // Two steps are enough: the last, and the first for a direction in reverse, which ends there.
        let last = xs.pool(Pool::Last)?;
        let first =
            if self.reversed_size() == 0 { last.clone() } else { xs.values().narrow(1, 0, 1)?.squeeze(1)? };
        let around = self.around(&Sequence::new(Tensor::stack(&[first, last], 1)?)?)?;
        Ok(((y + around.ends(self.reversed_size())?)?, carry))
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.layer.params().into_iter().chain(self.projection.clone()).collect()
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.layer.recurrent_blocks()
    }
}

impl<L: Layer> Module for Residual<L> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        forward(self, xs)
    }
}
