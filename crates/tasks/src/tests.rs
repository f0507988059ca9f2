//! Properties of every task, and opening by name.

use crate::files::idx;
use crate::open::{by_name, names, open, TaskOptions, GENERATED};
use crate::task::{Batch, BatchKey, LossTarget, Metrics, Split, Task};
use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var, D};
use std::path::Path;

/// A key of eight examples.
pub(super) fn key(split: Split) -> BatchKey {
    BatchKey { split, seed: 7, step: 3, batch: 8 }
}

/// A key of held-out examples.
pub(super) fn test_key(seed: u64, step: u64, batch: usize) -> BatchKey {
    BatchKey { split: Split::Test, seed, step, batch }
}

/// Checks the properties of every task.
pub(super) fn conforms(task: &dyn Task) -> Result<()> {
    assert!(names().contains(&task.name()));
    batches_are_reproducible_and_splits_apart(task)?;
    for dtype in [DType::F32, DType::F64] {
        shapes_are_right(task, dtype)?;
        perfect_outputs_have_no_loss(task, dtype)?;
        losses_are_differentiable(task, dtype)?;
    }
    nan_is_never_correct(task)?;
    wrong_shapes_are_named(task)
}

fn take(task: &dyn Task, key: BatchKey, dtype: DType) -> Result<Batch> {
    Ok(task.batch(key, dtype, &Device::Cpu)?)
}

/// The values of every example, as text.
fn examples(task: &dyn Task, key: BatchKey) -> Result<Vec<String>> {
    let batch = take(task, key, DType::F64)?;
    let rows = batch.xs.values().flatten_from(1)?.to_vec2::<f64>()?;
    Ok(rows.iter().map(|row| format!("{row:?}")).collect())
}

fn batches_are_reproducible_and_splits_apart(task: &dyn Task) -> Result<()> {
    let train = key(Split::Train);
    for key in [train, key(Split::Test)] {
        let (one, two) = (take(task, key, DType::F32)?, take(task, key, DType::F32)?);
        let bits = |batch: &Batch| -> Result<_> {
            let (xs, targets) = (batch.xs.values().flatten_all()?, batch.targets.flatten_all()?);
            let bits = |tensor: Tensor| -> Result<Vec<u32>> {
                Ok(tensor
                    .to_dtype(DType::F32)?
                    .to_vec1::<f32>()?
                    .into_iter()
                    .map(f32::to_bits)
                    .collect())
            };
            Ok((bits(xs)?, bits(targets)?, batch.xs.lengths().cloned()))
        };
        assert_eq!(bits(&one)?, bits(&two)?);
        let wide = take(task, key, DType::F64)?;
        assert_eq!(bits(&one)?, bits(&wide)?, "f32 is f64, rounded");
    }
    let first = examples(task, train)?;
    assert_ne!(first, examples(task, BatchKey { seed: 8, ..train })?);
    assert_ne!(first, examples(task, BatchKey { step: 4, ..train })?);
    for step in 0..4 {
        let test = examples(task, BatchKey { split: Split::Test, step, ..train })?;
        assert!(!test.iter().any(|example| first.contains(example)), "the splits share an example");
    }
    Ok(())
}

fn shapes_are_right(task: &dyn Task, dtype: DType) -> Result<()> {
    let mut longest = 0;
    for step in 0..8 {
        let batch = take(task, BatchKey { step, ..key(Split::Train) }, dtype)?;
        let (rows, time, feature) = batch.xs.values().dims3()?;
        assert_eq!((rows, feature, batch.xs.values().dtype()), (8, task.input_size(), dtype));
        let lengths =
            batch.xs.lengths().map_or(vec![time; 8], |lengths| lengths.as_slice().to_vec());
        assert_eq!(lengths.iter().max(), Some(&time), "no step is padding in all examples");
        longest = longest.max(time);
    }
    assert_eq!(longest, task.length());
    assert!((1..task.length()).contains(&task.longest_lag()));
    assert!(task.baseline() > 0.0);
    Ok(())
}

/// Logits `(.., classes)` with all probability on the targets.
fn confident(task: &dyn Task, targets: &Tensor, dtype: DType) -> Result<Tensor> {
    let classes = Tensor::arange(0, task.output_size() as u32, &Device::Cpu)?;
    let on = targets.unsqueeze(D::Minus1)?.broadcast_eq(&classes)?;
    Ok((on.to_dtype(dtype)? * 1000.0)?)
}

/// The outputs of a perfect network.
fn perfect(task: &dyn Task, batch: &Batch, dtype: DType) -> Result<Tensor> {
    match batch.targets.dtype() {
        DType::U32 => confident(task, &batch.targets, dtype),
        _ => Ok(batch.targets.clone()),
    }
}

fn losses(metrics: &Metrics) -> Result<Vec<f64>> {
    Ok(metrics.losses.to_dtype(DType::F64)?.to_vec1()?)
}

fn perfect_outputs_have_no_loss(task: &dyn Task, dtype: DType) -> Result<()> {
    let batch = take(task, key(Split::Test), dtype)?;
    let outputs = perfect(task, &batch, dtype)?;
    let metrics = task.evaluate(&outputs, &batch)?;
    let rows = batch.xs.values().dim(0)?;
    assert_eq!((outputs.dims()[0], outputs.dim(D::Minus1)?), (rows, task.output_size()));
    assert_eq!(outputs.rank() == 3, task.loss_target() == LossTarget::Every);
    assert_eq!((losses(&metrics)?, metrics.losses.dtype()), (vec![0.0; rows], dtype));
    if let Some(correct) = metrics.correct {
        assert_eq!(correct, vec![1.0; rows]);
        // Shift all classes or values by one: every answer is wrong.
        let outputs = match task.output_size() {
            1 => (outputs + 1.0)?,
            classes => Tensor::cat(
                &[outputs.narrow(D::Minus1, 1, classes - 1)?, outputs.narrow(D::Minus1, 0, 1)?],
                D::Minus1,
            )?,
        };
        assert_eq!(task.evaluate(&outputs, &batch)?.correct, Some(vec![0.0; rows]));
    }
    Ok(())
}

fn losses_are_differentiable(task: &dyn Task, dtype: DType) -> Result<()> {
    let batch = take(task, key(Split::Train), dtype)?;
    let shape = perfect(task, &batch, dtype)?.shape().clone();
    let outputs = Var::from_tensor(
        &(Tensor::arange(0f64, shape.elem_count() as f64, &Device::Cpu)?
            .sin()?
            .reshape(shape)?
            .to_dtype(dtype)?),
    )?;
    let loss = |outputs: &Tensor| -> Result<f64> {
        Ok(losses(&task.evaluate(outputs, &batch)?)?.iter().sum())
    };
    let grads = task.evaluate(&outputs, &batch)?.losses.sum_all()?.backward()?;
    let grad = grads.get(&outputs).expect("the outputs are in the graph");
    // Compare with the finite difference along the gradient, which is its squared norm.
    let step = 1e-3;
    let ahead = loss(&(outputs.as_tensor() + (grad * step)?)?)?;
    let behind = loss(&(outputs.as_tensor() - (grad * step)?)?)?;
    let square = grad.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    let slope = (ahead - behind) / (2.0 * step);
    assert!(square > 1e-3 && (slope / square - 1.0).abs() < 2e-3, "{slope} against {square}");
    Ok(())
}

fn nan_is_never_correct(task: &dyn Task) -> Result<()> {
    let batch = take(task, key(Split::Train), DType::F32)?;
    let metrics = task.evaluate(&(perfect(task, &batch, DType::F32)? * f64::NAN)?, &batch)?;
    assert!(losses(&metrics)?.iter().all(|loss| loss.is_nan()));
    assert!(metrics.correct.is_none_or(|correct| correct == [0.0; 8]));
    Ok(())
}

fn wrong_shapes_are_named(task: &dyn Task) -> Result<()> {
    let batch = take(task, key(Split::Train), DType::F32)?;
    let outputs = perfect(task, &batch, DType::F32)?;
    let wide = Tensor::cat(&[&outputs, &outputs], D::Minus1)?;
    let error = task.evaluate(&wide, &batch).expect_err("must fail").to_string();
    assert_eq!(
        error,
        format!("{} outputs: expected {:?}, got {:?}", task.name(), outputs.dims(), wide.dims())
    );
    Ok(())
}

/// Compares the baseline with the loss of the best constant answer, estimated from 4,000 examples:
/// they agree within `tolerance`, and slightly different answers have a higher loss.
pub(super) fn baseline_is_that_of_the_best_constant(task: &dyn Task, tolerance: f64) -> Result<()> {
    let count = task.examples().map_or(4000, |_| task.held_out());
    let batch = take(task, test_key(5, 0, count), DType::F64)?;
    let truth = match batch.targets.dtype() {
        DType::U32 => confident(task, &batch.targets, DType::F64)?.affine(1e-3, 0.0)?,
        _ => batch.targets.clone(),
    };
    let shape = truth.shape().clone();
    let mean = truth.mean_keepdim(0)?; // the mean target, or the class frequencies at each step
    let best = match batch.targets.dtype() {
        DType::U32 => (mean + 1e-30)?.log()?,
        _ => mean,
    };
    let loss = |answer: &Tensor| -> Result<f64> {
        Ok(task.evaluate(&answer.broadcast_as(&shape)?, &batch)?.losses.mean_all()?.to_scalar()?)
    };
    let (found, expected) = (loss(&best)?, task.baseline());
    assert!((found - expected).abs() < tolerance, "{found} against {expected}");
    let bent = Tensor::arange(0f64, best.elem_count() as f64, &Device::Cpu)?
        .sin()?
        .reshape(best.shape())?;
    for direction in [0.1, -0.1] {
        let other = best.add(&((&bent + 0.5)? * direction)?)?;
        assert!(loss(&other)? > found + 1e-5);
    }
    Ok(())
}

#[test]
fn every_name_opens_its_task() -> Result<()> {
    let folder = idx::tests::Folder::mnist(2, 2)?;
    for name in names() {
        let images = ["mnist-", "fashion-"].iter().any(|start| name.starts_with(start));
        if !["series", "forecast", "text"].contains(&name) {
            assert_eq!(by_name(name, None, images.then_some(folder.0.as_path()))?.name(), name);
        }
    }
    let file = |name: &str, text: &str| -> Result<std::path::PathBuf> {
        let path = folder.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let two = |text: &str| format!("@univariate true\n@classLabel true a b\n@data\n1,2:a\n{text}");
    file("x_TEST.ts", &two("3,4:b\n"))?;
    let rows: String = (0..200).map(|row| format!("{row},{}\n", row % 7)).collect();
    for (path, name, length) in [
        (file("x_TRAIN.ts", &two("1,2,3:b\n"))?, "series", 3),
        (file("x.csv", &format!("a,b\n{rows}"))?, "forecast", 48),
        (file("x.txt", &"abc ".repeat(6000))?, "text", 100),
    ] {
        let task = by_name(name, None, Some(&path))?;
        assert_eq!((task.name(), task.length()), (name, length));
    }
    let columns = TaskOptions {
        data: Some(&folder.0.join("x.csv")),
        column: Some("a"),
        season: Some(7),
        ..TaskOptions::default()
    };
    let columns = TaskOptions { length: Some(5), ..columns };
    assert_eq!(open("forecast", &columns)?.length(), 5);
    for (name, length, found) in [
        ("adding", None, 100),
        ("adding", Some(30), 30),
        ("copy", None, 120),
        ("copy", Some(30), 50),
        ("temporal-order", None, 110),
        ("temporal-order", Some(30), 33),
        ("adding-hochreiter", Some(30), 33),
        ("copy-variable", Some(30), 50),
        ("random-permutation", Some(30), 30),
        ("memory-capacity", Some(30), 30),
    ] {
        assert_eq!(by_name(name, length, None)?.length(), found);
    }
    Ok(())
}

#[test]
fn unsuitable_options_are_refused() {
    let error = |name, length, data: Option<&str>| match by_name(name, length, data.map(Path::new))
    {
        Ok(task) => panic!("{name} opened {}", task.name()),
        Err(error) => {
            assert_eq!(1 + u8::from(error.is_config()), 2, "{error:#}");
            format!("{error:#}") // with all its causes
        }
    };
    assert_eq!(
        error("coppy", None, None),
        "task coppy: no such task; the nearest is copy, all are adding, adding-tcn, \
         adding-hochreiter, multiplication, copy, copy-tcn, copy-variable, temporal-order, \
         temporal-order-6b, random-permutation, memory-capacity, mnist1d, mnist1d-shuffled, \
         mnist1d-padded, mnist-rows, mnist-pixels, mnist-permuted, fashion-rows, fashion-pixels, \
         fashion-permuted, series, forecast, text"
    );
    assert!(error("permuted-mnist", None, None).contains("the nearest is mnist-permuted"));
    assert!(error("ADDING", None, None).contains("the nearest is adding"));
    assert!(error("mnist", None, None).contains("the nearest is mnist"));
    assert_eq!(
        error("mnist1d", Some(40), None),
        "task mnist1d: its length is fixed at 40; leave --length out"
    );
    assert_eq!(
        error("mnist1d", None, Some("x")),
        "task mnist1d: it is generated and does not read files; leave --data out"
    );
    assert_eq!(error("text", None, None), "task text: it needs --data FILE, a text");
    assert_eq!(error("forecast", None, None), "task forecast: it needs --data FILE, a CSV file");
    let season = open("text", &TaskOptions { season: Some(7), ..TaskOptions::default() })
        .err()
        .expect("must fail");
    assert_eq!(1 + u8::from(season.is_config()), 2);
    assert_eq!(
        season.to_string(),
        "task text: only forecast has a column and a season; leave --column and --season out"
    );
    #[cfg(not(feature = "hub"))] // the hub would fetch it
    assert_eq!(
        error("mnist-pixels", None, None),
        "task mnist-pixels: it needs --data DIR, a folder with train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, or --features \
         hub to fetch it"
    );
    assert_eq!(
        error("mnist-rows", Some(28), Some("x")),
        "task mnist-rows: its length is fixed at 28; leave --length out"
    );
    assert_eq!(
        error("copy", None, Some("x")),
        "task copy: it is generated and does not read files; leave --data out"
    );
    assert_eq!(error("adding", Some(1), None), "adding length: expected 2 to 10000000, got 1");
    let unread =
        by_name("mnist-rows", None, Some(Path::new("not/there"))).err().expect("must fail");
    assert_eq!(1 + u8::from(unread.is_config()), 2, "{unread:#}");
}

#[test]
fn a_scaled_task_has_the_same_inputs_and_outputs() -> Result<()> {
    for (name, _) in GENERATED {
        let task = by_name(name, Some(20), None)?;
        let longer = task.scaled(4).expect("it is generated");
        let sizes = |task: &dyn Task| {
            (task.name(), task.input_size(), task.output_size(), task.criterion())
        };
        assert_eq!(sizes(longer.as_ref()), sizes(task.as_ref()));
        assert_eq!(longer.length(), by_name(name, Some(80), None)?.length());
        assert!(task.scaled(usize::MAX).is_none());
    }
    Ok(())
}
