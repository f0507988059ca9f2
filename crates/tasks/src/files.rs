//! Tasks over a fixed data set, most of them read from files.

pub(crate) mod forecast;
#[cfg(feature = "hub")]
mod hub;
pub(crate) mod idx;
mod input;
mod mnist;
mod mnist1d;
mod ngram;
pub(crate) mod series;
pub(crate) mod text;
mod ts;

pub use forecast::Forecast;
pub use idx::Images;
pub use mnist::{ImageSet, Mnist, PixelOrder};
pub use mnist1d::{Mnist1d, Mnist1dVariant};
pub use series::SeriesClasses;
pub use text::Text;
