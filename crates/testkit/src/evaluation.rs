//! One evaluation of a case: its implementation and its inputs.

use crate::named::{noise, weights, TensorMap};
use crate::{BuildContext, Case, EvaluationOutput, GradientTaps, Graph, Implementation, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    init, Bptt, Carry, ForwardContext, GradientRecorder, Layer, Record, Sequence,
};

/// The sizes of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// The number of examples.
    pub batch: usize,
    /// The number of steps.
    pub time: usize,
    /// The number of input features.
    pub input: usize,
    /// The number of units.
    pub hidden: usize,
}

/// What enters the loss of an evaluation: each value is multiplied by the leaf `loss.*` of its
/// name, and all are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossInputs {
    /// The outputs alone.
    Outputs,
    /// The final carry alone.
    Carry,
    /// The outputs and the final carry.
    Both,
    /// The result of [`Layer::last`] alone.
    Last,
    /// The result of [`Layer::last`], and its carry.
    LastAndCarry,
}

/// One evaluation of a case.
#[derive(Clone)]
pub struct Evaluation<'a> {
    /// The case.
    pub case: &'a Case,
    /// What runs its cells.
    pub implementation: Implementation,
    /// The sizes.
    pub size: Dims,
    /// The length of each example, if they differ.
    pub lengths: Option<Vec<usize>>,
    /// Whether a cell runs from the end to the beginning.
    pub reverse: bool,
    /// What enters the loss.
    pub loss_inputs: LossInputs,
    /// The dtype of everything.
    pub dtype: DType,
    /// Whether to train, with dropout.
    pub train: bool,
    /// What the gradient recorder records, if there is one.
    pub keep: Option<Record>,
    /// Truncated BPTT and clipping of the hidden gradient.
    pub flow: Bptt,
}

impl<'a> Evaluation<'a> {
    /// The default evaluation: small, in f64, by replay, without lengths, with outputs and carry in
    /// the loss.
    pub fn new(case: &'a Case) -> Self {
        let size = Dims { batch: 4, time: 7, input: if case.square { 5 } else { 3 }, hidden: 5 };
        Self {
            case,
            implementation: Implementation::Replay,
            size,
            lengths: None,
            reverse: false,
            loss_inputs: LossInputs::Both,
            dtype: DType::F64,
            train: false,
            keep: None,
            flow: Bptt::default(),
        }
    }

    /// Sets the suite's usual lengths. No example fills the last step, and one has a single step.
    #[must_use]
    pub fn ragged(self) -> Self {
        Self { lengths: Some(vec![5, 1, 6, 3]), ..self }
    }

    /// A name for messages.
    pub fn name(&self) -> String {
        let Dims { batch, time, input, hidden } = self.size;
        let lengths = self
            .lengths
            .as_ref()
            .map_or_else(String::new, |lengths| format!(", lengths {lengths:?}"));
        let reverse = if self.reverse { ", reversed" } else { "" };
        let flow =
            if self.flow == Bptt::default() { String::new() } else { format!(", {:?}", self.flow) };
        format!(
            "{:?} in {:?}{reverse}, (batch, time, input, hidden) = \
             ({batch}, {time}, {input}, {hidden}){lengths}, loss of {:?}{flow}",
            self.implementation, self.dtype, self.loss_inputs
        )
    }

    /// The implementations of the case, besides the reference.
    ///
    /// # Errors
    /// If the case cannot be built.
    pub fn implementations(&self) -> Result<Vec<Implementation>> {
        let build = self.build(
            Implementation::Auto,
            init::seeded(&VarMap::new(), self.case.seed, DType::F64, &Device::Cpu),
        );
        self.case.build(&build)?;
        Ok(if build.kernels() == 0 {
            vec![Implementation::Replay]
        } else {
            vec![Implementation::Replay, Implementation::Kernel]
        })
    }

    fn build<'b>(&self, implementation: Implementation, vb: VarBuilder<'b>) -> BuildContext<'b> {
        BuildContext::new(implementation, self.size.input, self.size.hidden, vb)
            .reversed(self.reverse)
    }

    /// The case with its initial weights, in a variable map.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn fresh(&self) -> Result<(VarMap, Box<dyn Layer>)> {
        let vars = VarMap::new();
        let layer = self.layer_on(init::seeded(&vars, self.case.seed, self.dtype, &Device::Cpu))?;
        Ok((vars, layer))
    }

    /// The inputs: `xs`, `carry.*`, `param.*` and `loss.*`. The weights are the initial ones plus
    /// noise, so that no value is zero or one by construction. Everything is drawn in f64 by its
    /// name, and rounded to the dtype.
    ///
    /// # Errors
    /// If the case cannot be built or run.
    pub fn leaves(&self) -> Result<TensorMap> {
        let Dims { batch, time, input, .. } = self.size;
        let (_, layer) = Self { dtype: DType::F64, ..self.clone() }.fresh()?;
        let xs = noise("xs", &[batch, time, input])?;
        let (ys, carry) =
            layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
        let mut leaves = TensorMap::from([("xs".to_string(), xs)]);
        for (name, param) in layer.params() {
            let name = format!("param.{name}");
            leaves.insert(name.clone(), (param.detach() + (noise(&name, param.dims())? * 0.3)?)?);
        }
        for (name, field) in carry.named() {
            let start = format!("carry.{name}");
            leaves.insert(start.clone(), noise(&start, field.dims())?);
            let weight = format!("loss.end.{name}");
            leaves.insert(weight.clone(), noise(&weight, field.dims())?);
        }
        leaves.insert("loss.ys".to_string(), noise("loss.ys", ys.values().dims())?);
        leaves.insert("loss.last".to_string(), noise("loss.last", &[batch, layer.output_size()])?);
        leaves.into_iter().map(|(name, value)| Ok((name, value.to_dtype(self.dtype)?))).collect()
    }

    /// The layer with the weights in `leaves`.
    ///
    /// # Errors
    /// If it cannot be built with them.
    pub fn layer(&self, leaves: &TensorMap) -> Result<Box<dyn Layer>> {
        self.layer_with(leaves, None)
    }

    fn layer_with(&self, leaves: &TensorMap, taps: Option<GradientTaps>) -> Result<Box<dyn Layer>> {
        let vb = VarBuilder::from_tensors(weights(leaves), self.dtype, &Device::Cpu);
        Ok(self.case.build(&self.build(self.implementation, vb).tapped(taps))?)
    }

    /// The layer with weights from the caller.
    ///
    /// # Errors
    /// If it cannot be built with them.
    pub fn layer_on(&self, vb: VarBuilder) -> Result<Box<dyn Layer>> {
        Ok(self.case.build(&self.build(self.implementation, vb))?)
    }

    /// The sequence in `leaves`.
    ///
    /// # Errors
    /// If the lengths do not fit.
    pub fn sequence(&self, leaves: &TensorMap) -> Result<Sequence> {
        let xs = leaves["xs"].clone();
        Ok(self
            .lengths
            .as_ref()
            .map_or_else(|| Sequence::new(xs.clone()), |len| Sequence::padded(xs.clone(), len))?)
    }

    /// The initial carry in `leaves`, if there is one.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn carry(&self, leaves: &TensorMap) -> Result<Option<Carry>> {
        if !leaves.keys().any(|name| name.starts_with("carry.")) {
            return Ok(None);
        }
        // A run over one step gives a carry of the right structure.
        let step = leaves["xs"].detach().narrow(1, 0, 1)?;
        let (_, shape) =
            self.layer(leaves)?.run(&Sequence::new(step)?, None, &ForwardContext::default())?;
        let mut names = shape.named().into_iter().map(|(name, _)| format!("carry.{name}"));
        let mut named =
            |_: &Tensor| Ok(leaves[&names.next().expect("a name for every tensor")].clone());
        Ok(Some(shape.map(&mut named)?.into_initial()))
    }

    /// The leaves, as variables where `tracked` holds.
    ///
    /// # Errors
    /// Those of candle.
    pub fn hold(&self, leaves: &TensorMap, tracked: impl Fn(&str) -> bool) -> Result<TensorMap> {
        let hold = |(name, value): (&String, &Tensor)| {
            let variable = !name.starts_with("loss.") && tracked(name);
            let value =
                if variable { Var::from_tensor(value)?.into_inner() } else { value.clone() };
            Ok((name.clone(), value))
        };
        leaves.iter().map(hold).collect()
    }

    /// Runs forward, with the leaves as variables where `tracked` holds.
    ///
    /// # Errors
    /// If the case cannot be built or run.
    pub fn graph(&self, leaves: &TensorMap, tracked: impl Fn(&str) -> bool) -> Result<Graph> {
        let held = self.hold(leaves, tracked)?;
        let recorder = self.keep.map(GradientRecorder::new);
        let taps = (self.implementation == Implementation::StepLoop && self.keep.is_some())
            .then(GradientTaps::default);
        let layer = self.layer_with(&held, taps.clone())?;
        let values = self.forward(layer.as_ref(), &held, recorder.as_ref())?;
        Ok(self.weigh(held, values)?.with_recorder(recorder, taps))
    }

    /// Runs `layer` forward over `leaves`; returns `ys` or `last`, and `end.*`.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn forward(
        &self,
        layer: &dyn Layer,
        leaves: &TensorMap,
        recorder: Option<&GradientRecorder>,
    ) -> Result<TensorMap> {
        let (xs, carry) = (self.sequence(leaves)?, self.carry(leaves)?);
        let mut context =
            if self.train { ForwardContext::train(3, 5) } else { ForwardContext::default() };
        context.record = recorder;
        context.bptt = self.flow;
        let (name, value, end) = match self.loss_inputs {
            LossInputs::Last | LossInputs::LastAndCarry => {
                let (last, end) = layer.last(&xs, carry.as_ref(), &context)?;
                ("last", last, end)
            }
            LossInputs::Outputs | LossInputs::Carry | LossInputs::Both => {
                let (ys, end) = layer.run(&xs, carry.as_ref(), &context)?;
                ("ys", ys.into_values(), end)
            }
        };
        let end = end.named().into_iter().map(|(name, field)| (format!("end.{name}"), field));
        Ok(end.chain([(name.to_string(), value)]).collect())
    }

    /// The loss of these values.
    ///
    /// # Errors
    /// If a value has another shape than its weight.
    pub fn weigh(&self, leaves: TensorMap, values: TensorMap) -> Result<Graph> {
        let read = |name: &str| match self.loss_inputs {
            LossInputs::Outputs | LossInputs::Last => !name.starts_with("end."),
            LossInputs::Carry => name.starts_with("end."),
            LossInputs::Both | LossInputs::LastAndCarry => true,
        };
        let mut loss = Tensor::zeros((), self.dtype, &Device::Cpu)?;
        for (name, value) in values.iter().filter(|(name, _)| read(name)) {
            loss = (loss + (value * &leaves[&format!("loss.{name}")])?.sum_all()?)?;
        }
        Ok(Graph::new(leaves, values, loss))
    }

    /// Runs forward and backward, with every leaf a variable.
    ///
    /// # Errors
    /// If the case cannot be built or run.
    pub fn run(&self, leaves: &TensorMap) -> Result<EvaluationOutput> {
        self.graph(leaves, |_| true)?.backward()
    }

    /// The loss, in f64.
    ///
    /// # Errors
    /// If the case cannot be built or run.
    pub fn loss(&self, leaves: &TensorMap) -> Result<f64> {
        Ok(self.graph(leaves, |_| false)?.loss.to_dtype(DType::F64)?.to_scalar()?)
    }
}
