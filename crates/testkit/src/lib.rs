//! What recurrent's own tests are made of: a conformance suite for cells and wrappers, finite differences, the reference
//! files, and comparisons that say what differs and by how much.
//!
//! A cell is enrolled by one line:
//!
//! ```
//! use recurrent_testkit::{conform, Subject};
//! # use candle::{Result, Tensor};
//! # use candle_nn::VarBuilder;
//! # use recurrent_core::{init, linear, Cell, CellConfig, HiddenState, LayerId};
//! # #[derive(Clone)] struct Elman { w: Tensor, u: Tensor, names: [String; 2] }
//! # impl Cell for Elman {
//! #     type State = HiddenState;
//! #     fn input_size(&self) -> usize { self.w.dims()[1] }
//! #     fn state_sizes(&self) -> Vec<usize> { vec![self.u.dims()[1]] }
//! #     fn params(&self) -> Vec<(String, Tensor)> {
//! #         vec![(self.names[0].clone(), self.w.clone()), (self.names[1].clone(), self.u.clone())]
//! #     }
//! #     fn with_params(&self, p: Vec<Tensor>) -> Result<Self> {
//! #         Ok(Self { w: p[0].clone(), u: p[1].clone(), names: self.names.clone() })
//! #     }
//! #     fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
//! #         Ok(HiddenState { h: (linear(x, &self.w, None)? + linear(&s.h, &self.u, None)?)?.tanh()? })
//! #     }
//! # }
//! # #[derive(Clone)] struct ElmanConfig;
//! # impl CellConfig for ElmanConfig {
//! #     type Cell = Elman;
//! #     fn cell(&self, input: usize, hidden: usize, layer_id: Option<LayerId>, vb: VarBuilder) -> Result<Elman> {
//! #         let names = ["w", "u"].map(|base| format!("{base}{}", layer_id.map_or_else(String::new, |p| p.suffix())));
//! #         let w = init::linear_weight(0, input, hidden, &names[0], &vb)?;
//! #         Ok(Elman { w, u: init::linear_weight(0, hidden, hidden, &names[1], &vb)?, names })
//! #     }
//! #     fn param_count(&self, input: usize, hidden: usize) -> usize { hidden * (input + hidden) }
//! # }
//!
//! conform! {
//!     elman: Subject::cell(ElmanConfig, |input, hidden| hidden * (input + hidden));
//! }
//! # fn main() -> recurrent_testkit::Result<()> {
//! # recurrent_testkit::conformance::check("elman", &Subject::cell(ElmanConfig, |i, h| h * (i + h)))
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod close;
pub mod conformance;
pub mod difference;
mod flow;
mod named;
mod outcome;
pub mod reference;
mod steps;
mod subject;
mod trial;

pub use anyhow::Result;
pub use close::{close, deviation, Tolerance};
pub use named::{noise, Named};
pub use outcome::{Graph, Outcome};
pub use steps::{Steps, Taps};
pub use subject::{Site, Subject, Way};
pub use trial::{Reads, Size, Trial};
