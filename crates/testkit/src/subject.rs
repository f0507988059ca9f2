//! What the suite is run on: a cell with its options, or a wrapper around layers.

use crate::{Steps, Taps};
use candle::Result;
use candle_nn::VarBuilder;
use recurrent_core::{Cell, CellConfig, Execution, Layer, LayerId, Rnn};
use std::cell;

/// A cell or a wrapper, as the suite sees it: how to build it, and what its documentation says of it.
pub struct Subject {
    pub(crate) build: Box<Build>,
    pub(crate) documented: fn(usize, usize) -> usize,
    pub(crate) counted: Option<Box<Counted>>,
    pub(crate) square: bool,
    pub(crate) ends: Ends,
    pub(crate) zero_gradients: Vec<(&'static str, &'static str)>,
    pub(crate) zero_starts: Vec<(&'static str, &'static str)>,
    pub(crate) stray_gradient: Option<&'static str>,
}

type Build = dyn Fn(&Site) -> Result<Box<dyn Layer>> + Send + Sync;
type Counted = dyn Fn(usize, usize) -> usize + Send + Sync;

/// Where the output lies after which a layer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At each example's last step.
    Last,
    /// The first half of the features at the last step, the second at the first.
    Both,
}

/// By what a subject's cells are run over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A plain loop over `step`, the definition: [`Steps`].
    Steps,
    /// The replay of `step`.
    Replay,
    /// The kernel, of those cells that have one.
    Kernel,
    /// As the library chooses.
    Auto,
}

/// Where a subject is built: sizes, weights, and the way in which its cells are run.
pub struct Site<'a> {
    /// The number of input features.
    pub input: usize,
    /// The number of units.
    pub hidden: usize,
    /// The weights.
    pub vb: VarBuilder<'a>,
    pub(crate) reverse: bool,
    way: Way,
    taps: Option<Taps>,
    kernels: cell::Cell<usize>,
}

impl<'a> Site<'a> {
    /// A place to build at, of these sizes.
    pub fn new(way: Way, input: usize, hidden: usize, vb: VarBuilder<'a>) -> Self {
        Self { input, hidden, vb, reverse: false, way, taps: None, kernels: cell::Cell::new(0) }
    }

    /// By what cells are run here.
    pub fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn tapped(self, taps: Option<Taps>) -> Self {
        Self { taps, ..self }
    }

    pub(crate) fn reversed(self, reverse: bool) -> Self {
        Self { reverse, ..self }
    }

    /// How many of the cells built here have a kernel.
    pub(crate) fn kernels(&self) -> usize {
        self.kernels.get()
    }

    /// A cell over time at the bottom, the whole of a subject that is a cell.
    ///
    /// # Errors
    /// As [`CellConfig::cell`].
    pub fn cell<K: CellConfig>(&self, config: &K) -> Result<Box<dyn Layer>> {
        self.at(LayerId { layer: 0, reverse: self.reverse }, self.input, config)
    }

    /// A cell over time at `place`, of `hidden` units on `input` features.
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
        Ok(match self.way {
            Way::Steps => {
                Box::new(Steps::new(rnn.cell().clone(), layer_id.reverse, self.taps.clone()))
            }
            Way::Replay => Box::new(rnn.with_execution(Execution::Replay)),
            Way::Kernel if has_kernel => Box::new(rnn.with_execution(Execution::Kernel)),
            Way::Kernel | Way::Auto => Box::new(rnn),
        })
    }
}

impl Subject {
    /// A cell with its options. `documented` is the number of weights at (input, hidden) that its documentation states.
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
            ..Self::layer(move |site| site.cell(&config(site.hidden)), documented)
        }
    }

    /// A wrapper around layers, built out of cells from its [`Site`] and with the site's weights.
    pub fn layer(
        build: impl Fn(&Site) -> Result<Box<dyn Layer>> + Send + Sync + 'static,
        documented: fn(usize, usize) -> usize,
    ) -> Self {
        Self {
            build: Box::new(build),
            documented,
            counted: None,
            square: false,
            ends: Ends::Last,
            zero_gradients: Vec::new(),
            zero_starts: Vec::new(),
            stray_gradient: None,
        }
    }

    /// The same with something around it, such as a fault that the suite must find.
    #[must_use]
    pub fn around(
        self,
        wrap: impl Fn(&Site, Box<dyn Layer>) -> Box<dyn Layer> + Send + Sync + 'static,
    ) -> Self {
        let build = self.build;
        Self { build: Box::new(move |site| Ok(wrap(site, build(site)?))), ..self }
    }

    /// The same, at sizes where there are as many input features as units.
    #[must_use]
    pub fn square(self) -> Self {
        Self { square: true, ..self }
    }

    /// The same, declared to run its topmost layer in both directions: the second half of its output ends at the first step.
    #[must_use]
    pub fn both_directions(self) -> Self {
        Self { ends: Ends::Both, ..self }
    }

    /// The same, declared to give the weight `name` a gradient of exactly zero, for a reason.
    #[must_use]
    pub fn zero_gradient(mut self, name: &'static str, reason: &'static str) -> Self {
        self.zero_gradients.push((name, reason));
        self
    }

    /// The same, declared to give every weight whose name begins with `prefix` a gradient of exactly zero as it begins, and only then,
    /// for a reason.
    #[must_use]
    pub fn zero_at_start(mut self, prefix: &'static str, reason: &'static str) -> Self {
        self.zero_starts.push((prefix, reason));
        self
    }

    /// The same, declared to leave a gradient for an input that nobody tracks, for a reason.
    #[must_use]
    pub fn stray_gradient(self, reason: &'static str) -> Self {
        Self { stray_gradient: Some(reason), ..self }
    }

    /// Whether this is a cell, rather than a wrapper.
    pub(crate) fn is_cell(&self) -> bool {
        self.counted.is_some()
    }

    /// Builds it.
    pub(crate) fn build(&self, site: &Site) -> Result<Box<dyn Layer>> {
        (self.build)(site)
    }
}
