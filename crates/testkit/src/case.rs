//! The cases of the suite: a cell with its options, or a wrapper around layers.

use crate::{GradientTaps, StepLoop};
use candle_core::Result;
use candle_nn::VarBuilder;
use recurrent_core::{Cell, CellConfig, Execution, Layer, LayerId, Rnn};
use std::cell;

/// A cell or a wrapper under test: how to build it, and the facts of its documentation to check.
pub struct Case {
    pub(crate) build: Box<Build>,
    pub(crate) documented: fn(usize, usize) -> usize,
    pub(crate) counted: Option<Box<Counted>>,
    pub(crate) square: bool,
    pub(crate) seed: u64,
    pub(crate) ends: Ends,
    pub(crate) zero_gradients: Vec<(&'static str, &'static str)>,
    pub(crate) zero_starts: Vec<(&'static str, &'static str)>,
}

type Build = dyn Fn(&BuildContext) -> Result<Box<dyn Layer>> + Send + Sync;
type Counted = dyn Fn(usize, usize) -> usize + Send + Sync;

/// Where the outputs end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At each example's last step.
    Last,
    /// The first half of the features at the last step, the second at the first.
    Both,
}

/// The implementation that runs a case's cells over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// A plain loop over `step`, the reference: [`StepLoop`].
    StepLoop,
    /// The replay of `step`.
    Replay,
    /// The kernel, for cells that have one.
    Kernel,
    /// The library's own choice.
    Auto,
}

/// The arguments of a case's builder: sizes, weights, and the implementation that runs its cells.
pub struct BuildContext<'a> {
    /// The number of input features.
    pub input: usize,
    /// The number of units.
    pub hidden: usize,
    /// The weights.
    pub vb: VarBuilder<'a>,
    pub(crate) reverse: bool,
    implementation: Implementation,
    taps: Option<GradientTaps>,
    kernels: cell::Cell<usize>,
}

impl<'a> BuildContext<'a> {
    /// A context with these sizes.
    pub fn new(
        implementation: Implementation,
        input: usize,
        hidden: usize,
        vb: VarBuilder<'a>,
    ) -> Self {
        Self {
            input,
            hidden,
            vb,
            reverse: false,
            implementation,
            taps: None,
            kernels: cell::Cell::new(0),
        }
    }

    /// The implementation that runs the cells.
    pub fn implementation(&self) -> Implementation {
        self.implementation
    }

    pub(crate) fn tapped(self, taps: Option<GradientTaps>) -> Self {
        Self { taps, ..self }
    }

    pub(crate) fn reversed(self, reverse: bool) -> Self {
        Self { reverse, ..self }
    }

    /// The number of cells built so far that have a kernel.
    pub(crate) fn kernels(&self) -> usize {
        self.kernels.get()
    }

    /// A cell over time as the bottom layer: the whole of a case that is a cell.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn cell<K: CellConfig>(&self, config: &K) -> Result<Box<dyn Layer>> {
        self.at(LayerId { layer: 0, reverse: self.reverse }, self.input, config)
    }

    /// A cell over time as the layer `layer_id`, of `hidden` units on `input` features.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn at<K: CellConfig>(
        &self,
        layer_id: LayerId,
        input: usize,
        config: &K,
    ) -> Result<Box<dyn Layer>> {
        let rnn = Rnn::at_layer(layer_id, input, self.hidden, config, self.vb.clone())?;
        let has_kernel = rnn.cell().kernel().is_some();
        self.kernels.set(self.kernels.get() + usize::from(has_kernel));
        Ok(match self.implementation {
            Implementation::StepLoop => {
                Box::new(StepLoop::new(rnn.cell().clone(), layer_id, self.taps.clone()))
            }
            Implementation::Replay => Box::new(rnn.with_execution(Execution::Replay)),
            Implementation::Kernel if has_kernel => Box::new(rnn.with_execution(Execution::Kernel)),
            Implementation::Kernel | Implementation::Auto => Box::new(rnn),
        })
    }
}

impl Case {
    /// A cell with its options. `documented` is the documented number of weights at (input,
    /// hidden).
    pub fn cell<K: CellConfig>(config: K, documented: fn(usize, usize) -> usize) -> Self {
        Self::sized_cell(move |_| config.clone(), documented)
    }

    /// A cell whose options depend on the number of units, such as a projection of its output.
    pub fn sized_cell<K: CellConfig>(
        config: impl Fn(usize) -> K + Clone + Send + Sync + 'static,
        documented: fn(usize, usize) -> usize,
    ) -> Self {
        let counted = config.clone();
        Self {
            counted: Some(Box::new(move |input, hidden| {
                counted(hidden).param_count(input, hidden)
            })),
            ..Self::layer(move |build| build.cell(&config(build.hidden)), documented)
        }
    }

    /// A wrapper around layers that it builds from cells of its [`BuildContext`].
    pub fn layer(
        build: impl Fn(&BuildContext) -> Result<Box<dyn Layer>> + Send + Sync + 'static,
        documented: fn(usize, usize) -> usize,
    ) -> Self {
        Self {
            build: Box::new(build),
            documented,
            counted: None,
            square: false,
            seed: 0,
            ends: Ends::Last,
            zero_gradients: Vec::new(),
            zero_starts: Vec::new(),
        }
    }

    /// Wraps every layer, for example with a fault that the suite must find.
    #[must_use]
    pub fn around(
        self,
        wrap: impl Fn(&BuildContext, Box<dyn Layer>) -> Box<dyn Layer> + Send + Sync + 'static,
    ) -> Self {
        let build = self.build;
        Self { build: Box::new(move |context| Ok(wrap(context, build(context)?))), ..self }
    }

    /// Uses sizes with as many input features as units.
    #[must_use]
    pub fn square(self) -> Self {
        Self { square: true, ..self }
    }

    /// Draws the weights from another seed than 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Declares that the topmost layer runs in both directions: the second half of its output ends
    /// at the first step.
    #[must_use]
    pub fn both_directions(self) -> Self {
        Self { ends: Ends::Both, ..self }
    }

    /// Declares that the weight `name` has a gradient of exactly zero, for a reason.
    #[must_use]
    pub fn zero_gradient(mut self, name: &'static str, reason: &'static str) -> Self {
        self.zero_gradients.push((name, reason));
        self
    }

    /// Declares that every weight whose name begins with `prefix` has a gradient of exactly zero at
    /// initialisation, and only then, for a reason.
    #[must_use]
    pub fn zero_at_start(mut self, prefix: &'static str, reason: &'static str) -> Self {
        self.zero_starts.push((prefix, reason));
        self
    }

    /// Whether this is a cell, not a wrapper.
    pub(crate) fn is_cell(&self) -> bool {
        self.counted.is_some()
    }

    /// Builds the layer.
    pub(crate) fn build(&self, build: &BuildContext) -> Result<Box<dyn Layer>> {
        (self.build)(build)
    }
}
