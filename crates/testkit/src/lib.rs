//! The tools of recurrent's own tests: a conformance suite for cells and wrappers, finite
//! differences, the reference files, and comparisons whose errors show what differs and by how
//! much.
//!
//! One line adds a cell to the suite:
//!
//! ```
//! use recurrent_testkit::{conform, Case};
//! # use candle_core::{Result, Tensor};
//! # use candle_nn::VarBuilder;
//! # use recurrent_core::{init, linear, Cell, CellConfig, HiddenState, LayerId, Params};
//! # #[derive(Clone, Params)] struct Elman { w: Tensor, u: Tensor }
//! # impl Cell for Elman {
//! #     type State = HiddenState;
//! #     fn input_size(&self) -> usize { self.w.dims()[1] }
//! #     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//! #     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
//! #         let z = (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?;
//! #         Ok(HiddenState { h: z.tanh()? })
//! #     }
//! # }
//! # #[derive(Clone)] struct ElmanConfig;
//! # impl CellConfig for ElmanConfig {
//! #     type Cell = Elman;
//! #     fn cell(
//! #         &self, input: usize, hidden: usize, layer_id: Option<LayerId>, vb: VarBuilder,
//! #     ) -> Result<Elman> {
//! #         let suffix = layer_id.map_or_else(String::new, |layer_id| layer_id.suffix());
//! #         let names = ["w", "u"].map(|base| format!("{base}{suffix}"));
//! #         let w = init::linear_weight(input, hidden, &names[0], &vb)?;
//! #         Ok(Elman { w, u: init::linear_weight(hidden, hidden, &names[1], &vb)? })
//! #     }
//! #     fn param_count(&self, input: usize, hidden: usize) -> usize { hidden * (input + hidden) }
//! # }
//!
//! conform! {
//!     elman: Case::cell(ElmanConfig, |input, hidden| hidden * (input + hidden));
//! }
//! # fn main() -> recurrent_testkit::Result<()> {
//! # recurrent_testkit::conformance::check("elman", &Case::cell(ElmanConfig, |i, h| h * (i + h)))
//! # }
//! ```

#![forbid(unsafe_code)]

mod case;
pub mod close;
pub mod conformance;
pub mod derivative;
mod evaluation;
pub mod finite_difference;
mod graph;
mod named;
pub mod program;
mod random;
pub mod reference;
mod step_loop;
mod truncation;

pub use anyhow::Result;
pub use case::{BuildContext, Case, Implementation};
pub use close::{close, relative_error, Tolerance};
pub use evaluation::{Dims, Evaluation, LossInputs};
pub use graph::{EvaluationOutput, Graph};
pub use named::{noise, TensorMap};
pub use random::cases;
pub use step_loop::{GradientTaps, StepLoop};
