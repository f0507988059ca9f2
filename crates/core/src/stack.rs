//! Layers on top of each other.

use crate::inference::InferenceStack;
use crate::{
    dropout, layer, Bidirectional, Carry, CellConfig, ForwardContext, InferenceLayer, Layer,
    LayerGraph, LayerId, Rnn, Sequence,
};
use candle_core::{bail, DType, Device, Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Layers on top of each other, with dropout between them while training, as in
/// `torch.nn.LSTM(num_layers, dropout)`.
///
/// The carry has one entry for each layer, bottom first.
pub struct Stack {
    layers: Vec<Box<dyn Layer>>,
    dropout: f64,
}

/// The direction of every layer of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Forward in time.
    #[default]
    Forward,
    /// Forward and in reverse, side by side.
    Bidirectional,
}

impl Stack {
    /// Layers of one kind, with weights named as in
    /// `torch.nn.LSTM(input, hidden, layers, bidirectional)`: `weight_ih_l0`,
    /// `weight_ih_l1_reverse`.
    ///
    /// # Errors
    /// As [`CellConfig::cell`]; if `layers` is 0.
    pub fn new<K: CellConfig>(
        input: usize,
        hidden: usize,
        layers: usize,
        direction: Direction,
        config: &K,
        vb: VarBuilder,
    ) -> Result<Self> {
        Self::build(input, layers, |layer_id, input| {
            let forward = Rnn::at_layer(layer_id, input, hidden, config, vb.clone())?;
            if direction == Direction::Forward {
                return Ok(Box::new(forward));
            }
            let reverse = Rnn::at_layer(
                LayerId { reverse: true, ..layer_id },
                input,
                hidden,
                config,
                vb.clone(),
            )?;
            Ok(Box::new(Bidirectional::new(forward, reverse)?))
        })
    }

    /// The layers, bottom first.
    ///
    /// # Errors
    /// If there is no layer, or a layer does not accept the output of the one below.
    pub fn from_layers(layers: Vec<Box<dyn Layer>>) -> Result<Self> {
        if layers.is_empty() {
            bail!("stack: expected at least one layer, got none")
        }
        for (index, pair) in layers.windows(2).enumerate() {
            let (below, above) = (pair[0].output_size(), pair[1].input_size());
            if below != above {
                bail!(
                    "stack: layer {} expects {above} features, got {below} from the one below",
                    index + 1
                )
            }
        }
        Ok(Self { layers, dropout: 0.0 })
    }

    /// A stack of `layers` layers, each made by `make` from its position and its number of input
    /// features.
    ///
    /// ```
    /// # use candle_core::{Device, Result, Tensor};
    /// # use recurrent_core::{linear, Cell, HiddenState, Layer, LayerId, Params, Rnn, Stack};
    /// # #[derive(Clone, Params)] struct Elman { w: Tensor, u: Tensor }
    /// # impl Cell for Elman {
    /// #     type State = HiddenState;
    /// #     fn input_size(&self) -> usize { self.w.dims()[1] }
    /// #     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
    /// #     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
    /// #         let h = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()?;
    /// #         Ok(HiddenState { h })
    /// #     }
    /// # }
    /// # fn main() -> Result<()> {
    /// let stack = Stack::build(5, 3, |_: LayerId, input| {
    ///     let w = Tensor::randn(0f32, 0.3, (8, input), &Device::Cpu)?;
    ///     let u = Tensor::randn(0f32, 0.3, (8, 8), &Device::Cpu)?;
    ///     Ok(Box::new(Rnn::from_cell(Elman { w, u })))
    /// })?;
    /// assert_eq!((stack.input_size(), stack.output_size(), stack.depth()), (5, 8, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `make`, and of [`Stack::from_layers`].
    pub fn build(
        input: usize,
        layers: usize,
        mut make: impl FnMut(LayerId, usize) -> Result<Box<dyn Layer>>,
    ) -> Result<Self> {
        let mut made: Vec<Box<dyn Layer>> = Vec::with_capacity(layers);
        for index in 0..layers {
            let input = made.last().map_or(input, |below| below.output_size());
            made.push(make(LayerId::layer(index), input)?);
        }
        Self::from_layers(made)
    }

    /// The same stack with dropout of rate `p` between the layers while training.
    ///
    /// # Errors
    /// If `p` is not in [0, 1), or there is only one layer: dropout acts between layers.
    pub fn with_dropout(self, p: f64) -> Result<Self> {
        if p > 0.0 && self.layers.len() == 1 {
            bail!("stack dropout: expected at least 2 layers, since it acts between them, got 1")
        }
        if !(0.0..1.0).contains(&p) {
            bail!("stack dropout: expected a rate in [0, 1), got {p}")
        }
        Ok(Self { dropout: p, ..self })
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.layers
    }

    /// Runs all layers, the topmost by `top`; returns the result of `top` and the carries.
    fn climb<T>(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
        top: impl Fn(&dyn Layer, &Sequence, Option<&Carry>, &ForwardContext) -> Result<(T, Carry)>,
    ) -> Result<(T, Carry)> {
        let parts = carry.map(|carry| carry.layers(self.layers.len())).transpose()?;
        let (last, below) = self.layers.split_last().expect("a stack has a layer");
        let (mut xs, mut carries, mut layer_id) = (xs.clone(), Vec::new(), *context);
        for (index, layer) in below.iter().enumerate() {
            let (ys, carry) = layer.run(&xs, parts.map(|parts| &parts[index]), &layer_id)?;
            xs = dropout(&ys, self.dropout, &layer_id)?;
            carries.push(carry);
            layer_id = layer_id.offset_layer(layer.depth());
        }
        let (out, carry) =
            top(last.as_ref(), &xs, parts.map(|parts| &parts[below.len()]), &layer_id)?;
        carries.push(carry);
        Ok((out, Carry::Layers(carries)))
    }
}

impl Layer for Stack {
    fn input_size(&self) -> usize {
        self.layers[0].input_size()
    }

    fn output_size(&self) -> usize {
        self.layers[self.layers.len() - 1].output_size()
    }

    fn reversed_size(&self) -> usize {
        self.layers[self.layers.len() - 1].reversed_size()
    }

    fn depth(&self) -> usize {
        self.layers.iter().map(|layer| layer.depth()).sum()
    }

    fn run(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Sequence, Carry)> {
        self.climb(xs, carry, context, |layer, xs, carry, context| layer.run(xs, carry, context))
    }

    fn last(
        &self,
        xs: &Sequence,
        carry: Option<&Carry>,
        context: &ForwardContext,
    ) -> Result<(Tensor, Carry)> {
        self.climb(xs, carry, context, |layer, xs, carry, context| layer.last(xs, carry, context))
    }

    fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        Ok(Arc::new(InferenceStack(
            self.layers.iter().map(|layer| layer.to_inference()).collect::<Result<_>>()?,
        )))
    }

    fn graph(&self) -> Result<LayerGraph> {
        let layers = self.layers.iter().map(|layer| layer.graph());
        Ok(LayerGraph::Stack(layers.collect::<Result<_>>()?))
    }

    fn explain(&self, dtype: DType, device: &Device) -> String {
        let explained = self.layers.iter().map(|layer| layer.explain(dtype, device)).enumerate();
        let parts = explained.map(|(index, part)| (format!("layer {index}"), part));
        layer::explain_parts(&parts.collect::<Vec<_>>())
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        self.layers.iter().flat_map(|layer| layer.params()).collect()
    }

    /// That of the layer if there is only one; else `None`.
    fn vjp(&self, x: &Tensor, carry: &Carry, grad: &Carry) -> Result<Option<Carry>> {
        let [layer] = &self.layers[..] else { return Ok(None) };
        let before = layer.vjp(x, &carry.layers(1)?[0], &grad.layers(1)?[0])?;
        Ok(before.map(|before| Carry::Layers(vec![before])))
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        let blocks =
            self.layers.iter().map(|layer| layer.recurrent_blocks()).collect::<Result<Vec<_>>>()?;
        Ok(blocks.concat())
    }
}

impl Module for Stack {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        layer::forward(self, xs)
    }
}
