//! The layer-normed LSTM.

use crate::gates::{NormedGates, EPS};
use candle::{Result, Tensor};
use candle_nn::VarBuilder;
use recurrent_core::init::{Gates, Init, Weights};
use recurrent_core::{layer_norm, lstm_memory, next_param, Cell, CellConfig, Engine, Memory, Place};
use recurrent_kernels::Kernel;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The options of a layer-normed LSTM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormLstmConfig {
    /// The initial value of all gains.
    pub gain: f64,
    /// How the other weights begin.
    pub init: Init,
}

impl Default for LayerNormLstmConfig {
    fn default() -> Self {
        Self { gain: 1.0, init: Init::default() }
    }
}

const GATES: Gates = Gates { names: &["i", "f", "g", "o"], memory: Some(1), input: Some(0) };

impl CellConfig for LayerNormLstmConfig {
    type Cell = LayerNormLstmCell;

    fn cell(
        &self,
        input: usize,
        hidden: usize,
        place: Option<Place>,
        vb: VarBuilder,
    ) -> Result<LayerNormLstmCell> {
        let weights = Weights::new(vb, place, &self.init, GATES, hidden)?;
        Ok(LayerNormLstmCell {
            gates: NormedGates::new(&weights, input, self.gain)?,
            gain_c: weights.constant("gain_c", hidden, self.gain)?,
            bias_c: weights.constant("bias_c", hidden, 0.0)?,
            names: ["gain_c", "bias_c"].map(|base| weights.name(base)),
        })
    }

    fn param_count(&self, input: usize, hidden: usize) -> usize {
        NormedGates::count(4, input, hidden) + 2 * hidden
    }
}

/// One step of a layer-normed LSTM; see the [crate] for equations and weights.
#[derive(Clone, Debug)]
pub struct LayerNormLstmCell {
    gates: NormedGates,
    gain_c: Tensor, // (hidden)
    bias_c: Tensor, // (hidden)
    names: [String; 2],
}

impl Cell for LayerNormLstmCell {
    type State = Memory;

    fn input_size(&self) -> usize {
        self.gates.weights.input_size()
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.gates.weights.hidden_size(); 2]
    }

    fn params(&self) -> Vec<(String, Tensor)> {
        let own = self.names.iter().cloned().zip([self.gain_c.clone(), self.bias_c.clone()]);
        self.gates.params().into_iter().chain(own).collect()
    }

    fn with_params(&self, params: Vec<Tensor>) -> Result<Self> {
        let mut params = params.into_iter();
        Ok(Self {
            gates: self.gates.replaced(&mut params)?,
            gain_c: next_param(&mut params)?,
            bias_c: next_param(&mut params)?,
            names: self.names.clone(),
        })
    }

    fn step(&self, x: &Tensor, s: &Memory) -> Result<Memory> {
        self.step_seeing(x, &s.h, s)
    }

    fn step_seeing(&self, x: &Tensor, seen: &Tensor, s: &Memory) -> Result<Memory> {
        let z = (self.gates.input(x)? + self.gates.recurrent(seen)?)?; // (batch, 4 * hidden)
        let (c, o) = lstm_memory(&z, &s.c)?;
        let h = (o * layer_norm(&c, &self.gain_c, EPS)?.broadcast_add(&self.bias_c)?.tanh()?)?;
        Ok(Memory { h, c })
    }

    fn recurrent_blocks(&self) -> Result<Vec<(String, Tensor)>> {
        self.gates.weights.recurrent_blocks()
    }

    fn kernel(&self) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(Kernel::new(recurrent_kernels::LayerNormLstm { eps: EPS })))
    }
}
