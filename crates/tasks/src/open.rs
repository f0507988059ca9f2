//! Opens a task by its name.

use crate::error::Result;
use crate::files::{forecast, series, text, Forecast, ImageSet, Mnist, Mnist1d, Mnist1dVariant};
use crate::files::{PixelOrder, SeriesClasses, Text};
use crate::generated::{memory_capacity, multiplication, permutation};
use crate::generated::{Adding, AddingVariant, CopyMemory, CopyVariant, MemoryCapacity};
use crate::generated::{Multiplication, OrderVariant, RandomPermutation, TemporalOrder};
use crate::task::Task;
use crate::usage::{bail_config, nearest};
use std::path::Path;
use std::sync::Arc;

/// Creates a generated task of a length.
type Generated = fn(usize) -> Result<Arc<dyn Task>>;

/// The generated tasks by name.
pub(crate) const GENERATED: [(&str, Generated); 11] = [
    (AddingVariant::Arjovsky.name(), |length| {
        Ok(Arc::new(Adding::new(length, AddingVariant::Arjovsky)?))
    }),
    (AddingVariant::Tcn.name(), |length| Ok(Arc::new(Adding::new(length, AddingVariant::Tcn)?))),
    (AddingVariant::Hochreiter.name(), |length| {
        Ok(Arc::new(Adding::new(length, AddingVariant::Hochreiter)?))
    }),
    (multiplication::NAME, |length| Ok(Arc::new(Multiplication::new(length)?))),
    (CopyVariant::Arjovsky.name(), |length| {
        Ok(Arc::new(CopyMemory::new(length, CopyVariant::Arjovsky)?))
    }),
    (CopyVariant::Tcn.name(), |length| Ok(Arc::new(CopyMemory::new(length, CopyVariant::Tcn)?))),
    (CopyVariant::Variable.name(), |length| {
        Ok(Arc::new(CopyMemory::new(length, CopyVariant::Variable)?))
    }),
    (OrderVariant::Two.name(), |length| {
        Ok(Arc::new(TemporalOrder::new(length, OrderVariant::Two)?))
    }),
    (OrderVariant::Three.name(), |length| {
        Ok(Arc::new(TemporalOrder::new(length, OrderVariant::Three)?))
    }),
    (permutation::NAME, |length| Ok(Arc::new(RandomPermutation::new(length)?))),
    (memory_capacity::NAME, |length| Ok(Arc::new(MemoryCapacity::new(length)?))),
];

/// The names of all tasks, as on the command line.
pub fn names() -> Vec<&'static str> {
    let generated = GENERATED.iter().map(|(name, _)| *name).chain(Mnist1dVariant::NAMES);
    let images =
        ImageSet::ALL.into_iter().flat_map(|set| PixelOrder::ALL.map(|order| order.name(set)));
    generated.chain(images).chain([series::NAME, forecast::NAME, text::NAME]).collect()
}

/// The default length of a generated task.
const LENGTH: usize = 100;

/// The options of a task. [`open`] refuses those that the task does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskOptions<'a> {
    /// The T or L of a generated task (default: 100), the number of noise steps of `mnist1d-padded`
    /// (100), or the window of `forecast` (48) or `text` (100). The length of other tasks is fixed.
    pub length: Option<usize>,
    /// The file or folder that a task over real data reads. Without it, and with the feature `hub`,
    /// MNIST and Fashion-MNIST are fetched from the Hugging Face Hub.
    pub data: Option<&'a Path>,
    /// The column that `forecast` reads.
    pub column: Option<&'a str>,
    /// The season of the naive forecast, the reference of `forecast`, in rows (default: 1).
    pub season: Option<usize>,
    /// The hub that images are fetched from (default: that of the environment).
    #[cfg(feature = "hub")]
    pub hub: Option<&'a recurrent_weights::hub::Hub>,
}

/// Opens a task with a length and a file or folder of data; see [`open`].
///
/// # Errors
/// As [`open`].
pub fn by_name(name: &str, length: Option<usize>, data: Option<&Path>) -> Result<Arc<dyn Task>> {
    open(name, &TaskOptions { length, data, ..TaskOptions::default() })
}

/// Opens the task called `name`.
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) if no task has this name (the message suggests the
/// nearest name), if the length is out of range, or if an option is missing or does not belong to
/// the task. Another error if the files cannot be read.
pub fn open(name: &str, options: &TaskOptions) -> Result<Arc<dyn Task>> {
    if name != forecast::NAME && (options.column.is_some() || options.season.is_some()) {
        bail_config!(
            "task {name}: only {} has a column and a season; leave --column and --season out",
            forecast::NAME
        );
    }
    if let Some((_, generated)) = GENERATED.iter().find(|(known, _)| *known == name) {
        no_data(name, options)?;
        return generated(options.length.unwrap_or(LENGTH));
    }
    let images =
        ImageSet::ALL.into_iter().flat_map(|set| PixelOrder::ALL.map(|order| (set, order)));
    if let Some((set, order)) = images.into_iter().find(|(set, order)| order.name(*set) == name) {
        no_length(name, options, order.steps())?;
        return Ok(Arc::new(match options.data {
            Some(data) => Mnist::open(data, set, order)?,
            None => without_data(name, options, set, order)?,
        }));
    }
    let plain = |form: Mnist1dVariant| -> Result<Arc<dyn Task>> {
        no_data(name, options)?;
        let task = Mnist1d::new(form)?;
        if !matches!(form, Mnist1dVariant::Padded(_)) {
            no_length(name, options, task.length())?;
        }
        Ok(Arc::new(task))
    };
    Ok(match name {
        "mnist1d" => plain(Mnist1dVariant::Plain)?,
        "mnist1d-shuffled" => plain(Mnist1dVariant::Shuffled)?,
        "mnist1d-padded" => plain(Mnist1dVariant::Padded(options.length.unwrap_or(LENGTH)))?,
        series::NAME => {
            let data = needed(
                name,
                options,
                "FILE, a file NAME_TRAIN.ts beside NAME_TEST.ts, or their folder",
            )?;
            let task = SeriesClasses::open(data)?;
            no_length(name, options, task.length())?;
            Arc::new(task)
        }
        forecast::NAME => {
            let data = needed(name, options, "FILE, a CSV file")?;
            let (window, season) =
                (options.length.unwrap_or(forecast::WINDOW), options.season.unwrap_or(1));
            Arc::new(Forecast::open(data, options.column, window, season)?)
        }
        text::NAME => {
            let data = needed(name, options, "FILE, a text")?;
            Arc::new(Text::open(data, options.length.unwrap_or(text::WINDOW))?)
        }
        _ => {
            let names = names();
            let nearest = nearest(name, names.iter().copied());
            bail_config!("task {name}: no such task; {nearest}all are {}", names.join(", "))
        }
    })
}

/// Refuses `--data` for a generated task.
fn no_data(name: &str, options: &TaskOptions) -> Result<()> {
    if options.data.is_some() {
        bail_config!("task {name}: it is generated and does not read files; leave --data out");
    }
    Ok(())
}

/// Refuses `--length` for a task of fixed length.
fn no_length(name: &str, options: &TaskOptions, length: usize) -> Result<()> {
    if options.length.is_some() {
        bail_config!("task {name}: its length is fixed at {length}; leave --length out");
    }
    Ok(())
}

/// Returns the data, or an error that names the missing option.
fn needed<'a>(name: &str, options: &TaskOptions<'a>, what: &str) -> Result<&'a Path> {
    match options.data {
        Some(data) => Ok(data),
        None => bail_config!("task {name}: it needs --data {what}"),
    }
}

/// Fetches images from the hub.
#[cfg(feature = "hub")]
fn without_data(_: &str, options: &TaskOptions, set: ImageSet, order: PixelOrder) -> Result<Mnist> {
    match options.hub {
        Some(hub) => Mnist::from_hub(hub, set, order),
        None => Mnist::from_hub(&recurrent_weights::hub::Hub::default(), set, order),
    }
}

/// Reports that the images are missing.
#[cfg(not(feature = "hub"))]
fn without_data(name: &str, _: &TaskOptions, _: ImageSet, _: PixelOrder) -> Result<Mnist> {
    let files = crate::files::idx::FILES.join(", ");
    bail_config!(
        "task {name}: it needs --data DIR, a folder with {files}, or --features hub to fetch it"
    );
}
