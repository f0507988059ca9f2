//! One evaluation of a subject: how it is built, and what goes in.

use crate::named::{flatten, noise, weights, Named};
use crate::{Graph, Outcome, Result, Site, Subject, Taps, Way};
use candle::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{Bptt, Carry, ForwardContext, GradientRecorder, Layer, Record, Sequence};

/// The sizes of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The number of examples.
    pub batch: usize,
    /// The number of steps.
    pub time: usize,
    /// The number of input features.
    pub input: usize,
    /// The number of units.
    pub hidden: usize,
}

/// What the loss of an evaluation reads, each multiplied by the leaf `loss.*` of its name, and summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The outputs alone.
    Outputs,
    /// The final carry alone.
    Carry,
    /// The outputs and the final carry.
    Both,
    /// What [`Layer::last`] gives, alone.
    Last,
    /// What [`Layer::last`] gives, and its carry.
    LastAndCarry,
}

/// One evaluation of a subject.
#[derive(Clone)]
pub struct Trial<'a> {
    /// The subject.
    pub subject: &'a Subject,
    /// By what its cells are run.
    pub way: Way,
    /// The sizes.
    pub size: Size,
    /// The length of each example, where they differ.
    pub lengths: Option<Vec<usize>>,
    /// Whether a cell runs from the end to the beginning.
    pub reverse: bool,
    /// What the loss reads.
    pub reads: Reads,
    /// The dtype of everything.
    pub dtype: DType,
    /// Whether this is a training pass, with dropout.
    pub train: bool,
    /// Whether a recorder watches.
    pub keep: Option<Record>,
    /// What is done to the gradient of the state.
    pub flow: Bptt,
}

impl<'a> Trial<'a> {
    /// The usual evaluation: small, in f64, by replay, without lengths, reading everything.
    pub fn new(subject: &'a Subject) -> Self {
        let size = Size { batch: 4, time: 7, input: if subject.square { 5 } else { 3 }, hidden: 5 };
        Self {
            subject,
            way: Way::Replay,
            size,
            lengths: None,
            reverse: false,
            reads: Reads::Both,
            dtype: DType::F64,
            train: false,
            keep: None,
            flow: Bptt::default(),
        }
    }

    /// The same with the lengths that are usual here. No example fills the last step, and one has a single step.
    #[must_use]
    pub fn ragged(self) -> Self {
        Self { lengths: Some(vec![5, 1, 6, 3]), ..self }
    }

    /// A name for messages.
    pub fn name(&self) -> String {
        let Size { batch, time, input, hidden } = self.size;
        let lengths = self
            .lengths
            .as_ref()
            .map_or_else(String::new, |lengths| format!(", lengths {lengths:?}"));
        let reverse = if self.reverse { ", reversed" } else { "" };
        let flow =
            if self.flow == Bptt::default() { String::new() } else { format!(", {:?}", self.flow) };
        format!(
            "{:?} in {:?}{reverse}, (batch, time, input, hidden) = ({batch}, {time}, {input}, {hidden}){lengths}, loss of {:?}{flow}",
            self.way, self.dtype, self.reads
        )
    }

    /// By what the subject's cells can be run, besides the definition.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn ways(&self) -> Result<Vec<Way>> {
        let site =
            self.site(Way::Auto, VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu));
        self.subject.build(&site)?;
        Ok(if site.kernels() == 0 { vec![Way::Replay] } else { vec![Way::Replay, Way::Kernel] })
    }

    fn site<'b>(&self, way: Way, vb: VarBuilder<'b>) -> Site<'b> {
        Site::new(way, self.size.input, self.size.hidden, vb).reversed(self.reverse)
    }

    /// The subject with the weights with which it begins, in a variable map.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn fresh(&self) -> Result<(VarMap, Box<dyn Layer>)> {
        let vars = VarMap::new();
        let layer = self.layer_on(VarBuilder::from_varmap(&vars, self.dtype, &Device::Cpu))?;
        Ok((vars, layer))
    }

    /// What goes in: `xs`, `carry.*`, `param.*` and `loss.*`. The weights are those with which the subject begins, and noise,
    /// so that nothing is zero or one by construction. Everything is drawn in f64 by its name, and rounded to the dtype.
    ///
    /// # Errors
    /// If the subject cannot be built or run.
    pub fn leaves(&self) -> Result<Named> {
        let Size { batch, time, input, .. } = self.size;
        let (_, layer) = Self { dtype: DType::F64, ..self.clone() }.fresh()?;
        let xs = noise("xs", &[batch, time, input])?;
        let (ys, carry) =
            layer.run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
        let mut leaves = Named::from([("xs".to_string(), xs)]);
        for (name, param) in layer.params() {
            let name = format!("param.{name}");
            leaves.insert(name.clone(), (param.detach() + (noise(&name, param.dims())? * 0.3)?)?);
        }
        for (name, field) in flatten(&carry) {
            let start = format!("carry.{name}");
            leaves.insert(start.clone(), noise(&start, field.dims())?);
            let weight = format!("loss.end.{name}");
            leaves.insert(weight.clone(), noise(&weight, field.dims())?);
        }
        leaves.insert("loss.ys".to_string(), noise("loss.ys", ys.values().dims())?);
        leaves.insert("loss.last".to_string(), noise("loss.last", &[batch, layer.output_size()])?);
        leaves.into_iter().map(|(name, value)| Ok((name, value.to_dtype(self.dtype)?))).collect()
    }

    /// The layer with the weights among `leaves`.
    ///
    /// # Errors
    /// If it cannot be built with them.
    pub fn layer(&self, leaves: &Named) -> Result<Box<dyn Layer>> {
        self.layer_with(leaves, None)
    }

    fn layer_with(&self, leaves: &Named, taps: Option<Taps>) -> Result<Box<dyn Layer>> {
        let vb = VarBuilder::from_tensors(weights(leaves), self.dtype, &Device::Cpu);
        Ok(self.subject.build(&self.site(self.way, vb).tapped(taps))?)
    }

    /// The subject on weights of the caller's.
    ///
    /// # Errors
    /// If it cannot be built with them.
    pub fn layer_on(&self, vb: VarBuilder) -> Result<Box<dyn Layer>> {
        Ok(self.subject.build(&self.site(self.way, vb))?)
    }

    /// The sequence among `leaves`.
    ///
    /// # Errors
    /// If the lengths do not fit.
    pub fn sequence(&self, leaves: &Named) -> Result<Sequence> {
        let xs = leaves["xs"].clone();
        Ok(self
            .lengths
            .as_ref()
            .map_or_else(|| Sequence::new(xs.clone()), |len| Sequence::padded(xs.clone(), len))?)
    }

    /// The initial carry among `leaves`; `None` if there is none.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn carry(&self, leaves: &Named) -> Result<Option<Carry>> {
        if !leaves.keys().any(|name| name.starts_with("carry.")) {
            return Ok(None);
        }
        // What a carry of this layer looks like, one step of it says.
        let step = leaves["xs"].detach().narrow(1, 0, 1)?;
        let (_, shape) =
            self.layer(leaves)?.run(&Sequence::new(step)?, None, &ForwardContext::default())?;
        let mut names = flatten(&shape).into_iter().map(|(name, _)| format!("carry.{name}"));
        let mut named =
            |_: &Tensor| Ok(leaves[&names.next().expect("a name for every tensor")].clone());
        Ok(Some(shape.map(&mut named)?))
    }

    /// The leaves, those of them as variables that `tracked` says.
    ///
    /// # Errors
    /// Those of candle.
    pub fn hold(&self, leaves: &Named, tracked: impl Fn(&str) -> bool) -> Result<Named> {
        let hold = |(name, value): (&String, &Tensor)| {
            let variable = !name.starts_with("loss.") && tracked(name);
            let value =
                if variable { Var::from_tensor(value)?.into_inner() } else { value.clone() };
            Ok((name.clone(), value))
        };
        leaves.iter().map(hold).collect()
    }

    /// Runs forward, with those of the leaves as variables that `tracked` says.
    ///
    /// # Errors
    /// If the subject cannot be built or run.
    pub fn graph(&self, leaves: &Named, tracked: impl Fn(&str) -> bool) -> Result<Graph> {
        let held = self.hold(leaves, tracked)?;
        let recorder = self.keep.map(GradientRecorder::new);
        let taps = (self.way == Way::Steps && self.keep.is_some()).then(Taps::default);
        let layer = self.layer_with(&held, taps.clone())?;
        let values = self.forward(layer.as_ref(), &held, recorder.as_ref())?;
        Ok(self.weigh(held, values)?.watched(recorder, taps))
    }

    /// Runs `layer` forward over `leaves`: `ys` or `last`, and `end.*`.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn forward(
        &self,
        layer: &dyn Layer,
        leaves: &Named,
        recorder: Option<&GradientRecorder>,
    ) -> Result<Named> {
        let (xs, carry) = (self.sequence(leaves)?, self.carry(leaves)?);
        let mut context =
            if self.train { ForwardContext::train(3, 5) } else { ForwardContext::default() };
        context.record = recorder;
        context.bptt = self.flow;
        let (name, value, end) = match self.reads {
            Reads::Last | Reads::LastAndCarry => {
                let (last, end) = layer.last(&xs, carry.as_ref(), &context)?;
                ("last", last, end)
            }
            Reads::Outputs | Reads::Carry | Reads::Both => {
                let (ys, end) = layer.run(&xs, carry.as_ref(), &context)?;
                ("ys", ys.into_values(), end)
            }
        };
        let end = flatten(&end).into_iter().map(|(name, field)| (format!("end.{name}"), field));
        Ok(end.chain([(name.to_string(), value)]).collect())
    }

    /// The loss of these values, as the evaluation reads them.
    ///
    /// # Errors
    /// If a value has another shape than its weight.
    pub fn weigh(&self, leaves: Named, values: Named) -> Result<Graph> {
        let read = |name: &str| match self.reads {
            Reads::Outputs | Reads::Last => !name.starts_with("end."),
            Reads::Carry => name.starts_with("end."),
            Reads::Both | Reads::LastAndCarry => true,
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
    /// If the subject cannot be built or run.
    pub fn run(&self, leaves: &Named) -> Result<Outcome> {
        self.graph(leaves, |_| true)?.backward()
    }

    /// The loss alone, in f64.
    ///
    /// # Errors
    /// If the subject cannot be built or run.
    pub fn loss(&self, leaves: &Named) -> Result<f64> {
        Ok(self.graph(leaves, |_| false)?.loss.to_dtype(DType::F64)?.to_scalar()?)
    }
}
