//! A network on the adding problem, for the tests of measures.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use rand::Rng;
use recurrent_core::{
    init, named_rng, CellConfig, Direction, ForwardContext, Layer, Sequence, Stack,
};
use recurrent_measures::diagnosis::{Diagnosis, DiagnosisReport};

pub(crate) const BATCH: usize = 16;

/// Recurrent layers and a linear read-out of the last output.
pub(crate) struct Network {
    pub(crate) vars: VarMap,
    pub(crate) layer: Box<dyn Layer>,
    pub(crate) readout: Linear,
}

impl Network {
    pub(crate) fn new(
        seed: u64,
        build: impl FnOnce(VarBuilder) -> Result<Box<dyn Layer>>,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, seed, DType::F32, &Device::Cpu);
        let layer = build(vb.pp("rnn"))?;
        let readout = init::linear(layer.output_size(), 1, &vb.pp("readout"))?;
        Ok(Self { vars, layer, readout })
    }

    pub(crate) fn of<K: CellConfig>(
        layers: usize,
        config: &K,
        hidden: usize,
        seed: u64,
    ) -> Result<Self> {
        Self::new(seed, |vb| {
            Ok(Box::new(Stack::new(2, hidden, layers, Direction::Forward, config, vb)?))
        })
    }

    pub(crate) fn vb(&self) -> VarBuilder<'static> {
        VarBuilder::from_varmap(&self.vars, DType::F32, &Device::Cpu)
    }

    pub(crate) fn loss(&self, time: usize, draw: u64, context: &ForwardContext) -> Result<Tensor> {
        let (xs, targets) = adding(time, draw)?;
        let (last, _) = self.layer.last(&xs, None, context)?;
        (self.readout.forward(&last)? - targets)?.sqr()?.mean_all()
    }

    pub(crate) fn train(&self, time: usize, seed: u64, steps: u64) -> Result<()> {
        let params = ParamsAdamW { lr: 3e-3, weight_decay: 0.0, ..ParamsAdamW::default() };
        // in any order, since updates are independent
        let mut adam = AdamW::new(self.vars.all_vars(), params)?;
        (0..steps).try_for_each(|step| {
            adam.backward_step(&self.loss(
                time,
                1000 * (seed + 1) + step,
                &ForwardContext::default(),
            )?)
        })
    }

    pub(crate) fn diagnose(
        &self,
        time: usize,
        needed: usize,
        seed: u64,
    ) -> Result<DiagnosisReport> {
        let mut diagnosis = Diagnosis::new(needed);
        for batch in 0..3 {
            let recorder = diagnosis.recorder();
            let loss = self.loss(time, 1_000_000 + 3 * seed + batch, &recorder.context())?;
            diagnosis.add_batch(recorder, &loss, &loss.backward()?, &self.vars)?;
        }
        Ok(diagnosis.report())
    }
}

/// The adding problem (Arjovsky, Shah and Bengio 2016): two of the values are marked, one in each
/// half, and the target is their sum.
pub(crate) fn adding(time: usize, draw: u64) -> Result<(Sequence, Tensor)> {
    let mut rng = named_rng(draw, "adding");
    let (mut xs, mut sums) = (vec![0f32; BATCH * time * 2], Vec::new());
    for steps in xs.chunks_exact_mut(time * 2) {
        steps.iter_mut().step_by(2).for_each(|value| *value = rng.random());
        let marked = [rng.random_range(0..time / 2), rng.random_range(time / 2..time)];
        marked.iter().for_each(|step| steps[2 * step + 1] = 1.0);
        sums.push(marked.iter().map(|step| steps[2 * step]).sum::<f32>());
    }
    let xs = Sequence::new(Tensor::from_vec(xs, (BATCH, time, 2), &Device::Cpu)?)?;
    Ok((xs, Tensor::from_vec(sums, (BATCH, 1), &Device::Cpu)?))
}
