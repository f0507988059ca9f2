//! Opens a task by its name.

use crate::files::{forecast, series, text, Forecast, ImageSet, Mnist, Mnist1d, Mnist1dVariant};
use crate::files::{PixelOrder, SeriesClasses, Text};
use crate::generated::{memory_capacity, multiplication, permutation};
use crate::generated::{Adding, AddingVariant, CopyMemory, CopyVariant, MemoryCapacity};
use crate::generated::{Multiplication, OrderVariant, RandomPermutation, TemporalOrder};
use crate::task::Task;
use crate::usage::{mistake, nearest};
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;

/// A generated task of a length.
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
        ImageSet::ALL.into_iter().flat_map(|shown| PixelOrder::ALL.map(|order| order.name(shown)));
    generated.chain(images).chain([series::NAME, forecast::NAME, text::NAME]).collect()
}

/// The length of a generated task if none is given.
const LENGTH: usize = 100;

/// What is said of a task beside its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskOptions<'a> {
    /// The T or L of a generated task, by default 100; the number of steps of noise of `mnist1d-padded`, 100; the window of `forecast`, 48, and of `text`, 100. The
    /// other tasks have a length of their own.
    pub length: Option<usize>,
    /// The file or folder that a task of real data reads. With the feature `hub`, MNIST and Fashion-MNIST come from the Hugging Face Hub if there is none.
    pub data: Option<&'a Path>,
    /// The column of `forecast`.
    pub column: Option<&'a str>,
    /// The season of the naive forecast that `forecast` is compared with, in rows, by default 1.
    pub season: Option<usize>,
}

/// The task called `name` with a length and a file or folder of data, as [`open`].
///
/// # Errors
/// As [`open`].
pub fn by_name(name: &str, length: Option<usize>, data: Option<&Path>) -> Result<Arc<dyn Task>> {
    open(name, &TaskOptions { length, data, ..TaskOptions::default() })
}

/// The task called `name`.
///
/// # Errors
/// A [`Usage`](crate::usage::Usage) error if there is no such task, with the nearest that there is; if the length does
/// not suit it; if `data` or another choice is missing where it is needed or given where it is not. Another if the files cannot be read.
pub fn open(name: &str, choice: &TaskOptions) -> Result<Arc<dyn Task>> {
    if name != forecast::NAME && (choice.column.is_some() || choice.season.is_some()) {
        mistake!(
            "task {name}: column and season are those of {}; leave --column and --season out",
            forecast::NAME
        );
    }
    if let Some((_, generated)) = GENERATED.iter().find(|(known, _)| *known == name) {
        no_data(name, choice)?;
        return generated(choice.length.unwrap_or(LENGTH));
    }
    let images =
        ImageSet::ALL.into_iter().flat_map(|shown| PixelOrder::ALL.map(|order| (shown, order)));
    if let Some((shown, order)) =
        images.into_iter().find(|(shown, order)| order.name(*shown) == name)
    {
        no_length(name, choice, order.steps())?;
        return Ok(Arc::new(match choice.data {
            Some(data) => Mnist::open(data, shown, order)?,
            None => without_data(name, shown, order)?,
        }));
    }
    let plain = |form: Mnist1dVariant| -> Result<Arc<dyn Task>> {
        no_data(name, choice)?;
        let task = Mnist1d::new(form)?;
        if !matches!(form, Mnist1dVariant::Padded(_)) {
            no_length(name, choice, task.length())?;
        }
        Ok(Arc::new(task))
    };
    Ok(match name {
        "mnist1d" => plain(Mnist1dVariant::Plain)?,
        "mnist1d-shuffled" => plain(Mnist1dVariant::Shuffled)?,
        "mnist1d-padded" => plain(Mnist1dVariant::Padded(choice.length.unwrap_or(LENGTH)))?,
        series::NAME => {
            let data = needed(
                name,
                choice,
                "FILE, a file NAME_TRAIN.ts beside NAME_TEST.ts, or their folder",
            )?;
            let task = SeriesClasses::open(data)?;
            no_length(name, choice, task.length())?;
            Arc::new(task)
        }
        forecast::NAME => {
            let data = needed(name, choice, "FILE, a CSV file")?;
            let (window, season) =
                (choice.length.unwrap_or(forecast::WINDOW), choice.season.unwrap_or(1));
            Arc::new(Forecast::open(data, choice.column, window, season)?)
        }
        text::NAME => {
            let data = needed(name, choice, "FILE, a text")?;
            Arc::new(Text::open(data, choice.length.unwrap_or(text::WINDOW))?)
        }
        _ => {
            let names = names();
            let nearest = nearest(name, names.iter().copied()).expect("there are tasks");
            mistake!(
                "task {name}: no such task; the nearest is {nearest}, all are {}",
                names.join(", ")
            )
        }
    })
}

fn no_data(name: &str, choice: &TaskOptions) -> Result<()> {
    if choice.data.is_some() {
        mistake!("task {name}: it is generated and reads no files; leave --data out");
    }
    Ok(())
}

fn no_length(name: &str, choice: &TaskOptions, length: usize) -> Result<()> {
    if choice.length.is_some() {
        mistake!("task {name}: its length is fixed at {length}; leave --length out");
    }
    Ok(())
}

fn needed<'a>(name: &str, choice: &TaskOptions<'a>, what: &str) -> Result<&'a Path> {
    match choice.data {
        Some(data) => Ok(data),
        None => mistake!("task {name}: it needs --data {what}"),
    }
}

/// Small images from the hub.
#[cfg(feature = "hub")]
fn without_data(_: &str, shown: ImageSet, order: PixelOrder) -> Result<Mnist> {
    Mnist::from_hub(&recurrent_weights::hub::Hub::default(), shown, order)
}

/// That small images are missing.
#[cfg(not(feature = "hub"))]
fn without_data(name: &str, _: ImageSet, _: PixelOrder) -> Result<Mnist> {
    let files = crate::files::idx::FILES.join(", ");
    mistake!("task {name}: it needs --data DIR, a folder with {files}; or --features hub, with which it is fetched");
}
