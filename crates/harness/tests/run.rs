//! One run: its end and its records.

use crate::cells::{plain, tanh, Changed, Cut};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use recurrent_core::{ForwardContext, Rnn};
use recurrent_harness::network::Network;
use recurrent_harness::run::{self, Job, Run, SavedRun};
use recurrent_harness::variant::{Size, Variant};
use recurrent_records::config::{Budget, Clipping, Level, Readout, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::{StateGradients, Status};
use recurrent_tasks as tasks;
use recurrent_tasks::task::{BatchKey, Criterion, Split, Task};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

fn adding(length: usize) -> Arc<dyn Task> {
    tasks::by_name("adding", Some(length), None).expect("long enough")
}

fn settings(task: &dyn Task, steps: u64) -> TrainingConfig {
    TrainingConfig {
        budget: Budget::Steps(steps),
        width: Width::Hidden(4),
        eval_every: 5,
        held_out: Some(100),
        batch: 8,
        ..TrainingConfig::new(task)
    }
}

fn run(variant: &Variant, task: &dyn Task, settings: &TrainingConfig) -> Run {
    let job = Job::new(variant, task, settings, 3).expect("it can be built");
    run::run(&job, &false.into(), &mut |_, _| ())
}

#[test]
fn everything_is_recorded() {
    let task = adding(5);
    let Run { record, steps, evals, profiles, measures, weights } =
        run(&tanh("t"), task.as_ref(), &settings(task.as_ref(), 12));
    assert!(
        measures.is_empty() && record.outcome.measure_seconds.is_empty(),
        "they were not asked for"
    );
    let weights =
        candle_core::safetensors::load_buffer(&weights, &Device::Cpu).expect("a whole file");
    let count: usize = weights.values().map(Tensor::elem_count).sum();
    assert_eq!((count, weights["rnn.weight_hh"].dims()), (record.config.model.params, &[4, 4][..]));
    assert_eq!(
        (&record.status, record.outcome.steps, record.config.max_steps()),
        (&Status::Finished, 12, 12)
    );
    assert_eq!(
        (record.config.model.hidden, record.config.model.layers, record.config.model.params),
        (4, 1, 4 * 2 + 4 * 4 + 4 + 1)
    );
    assert_eq!(
        (
            record.config.task.name.as_str(),
            record.config.task.length,
            record.config.task.longest_lag
        ),
        ("adding", 5, 4)
    );
    assert_eq!(
        (
            record.config.training.dtype.as_str(),
            record.config.training.device.as_str(),
            record.outcome.threads
        ),
        ("f32", "cpu", 1)
    );
    assert_eq!((record.outcome.solved, record.outcome.steps_to_solve), (false, None));
    assert!(record.spectral_radius["h"] > 0.0 && record.outcome.seconds > 0.0);
    assert_eq!(
        steps.iter().map(|step| step.step).collect::<Vec<_>>(),
        (1..=12).collect::<Vec<_>>()
    );
    assert_eq!(
        evals.iter().map(|eval| eval.step).collect::<Vec<_>>(),
        [5, 10, 12],
        "the end is evaluated too"
    );
    assert_eq!((record.outcome.final_loss, record.outcome.accuracy), (evals[2].loss, None));
    let seen: Vec<_> =
        profiles.iter().map(|profile| (profile.step, profile.last, profile.lag.len())).collect();
    let expected = [(0, false), (1, false), (2, false), (4, false), (8, false), (12, true)];
    assert_eq!(seen, expected.map(|(step, last)| (step, last, 6)), "lags 0 to T");
    let clipped = steps.iter().filter(|step| step.grad_norm > 1.0);
    assert!((record.clipping.fraction - clipped.clone().count() as f64 / 12.0).abs() < 1e-12);
    assert!(clipped.clone().count() > 0, "otherwise the next line tests nothing");
    assert!(clipped.clone().all(|step| (step.grad_norm_clipped - 1.0).abs() < 1e-6));
    assert!(
        record.gradients.init.h.half_life.is_some() && record.gradients.trained.h.ratio.is_some()
    );
    assert_eq!(record.gradients.init.c, StateGradients::default(), "this state has no c");
    assert!(record.gradients.init.h.fit.is_some() && record.gradients.trained.h.fit.is_some());
}

/// A linear network of one unit has the Jacobian u at every step.
#[test]
fn all_measures_of_a_linear_network_are_functions_of_its_weight() -> Result<()> {
    let (task, variant) = (adding(40), plain("linear", |x, h| x + h));
    let settings = TrainingConfig {
        dtype: DType::F64,
        width: Width::Hidden(1),
        measures: Level::Dynamics,
        ..settings(task.as_ref(), 2)
    };
    let job = Job::new(&variant, task.as_ref(), &settings, 1)?;
    let run = run::run(&job, &false.into(), &mut |_, _| ());
    assert_eq!(run.record.status, Status::Finished);
    let u = run.record.spectral_radius["h"];
    let line = |measure: &str| {
        let found = run.measures.iter().find(|line| line.measure == measure && line.step == 0);
        found.unwrap_or_else(|| panic!("{measure}: not measured"))
    };
    let close = |measure: &str, at: usize, expected: f64| {
        let found = line(measure).values[at];
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
            "{measure}: {found}, not {expected}"
        );
    };
    close("lyapunov-exponents", 0, u.ln());
    assert_eq!(line("log10-largest-singular-value").at, [1, 2, 5, 10, 20, 40]);
    close("log10-largest-singular-value", 3, 10.0 * u.log10());
    close("log10-condition", 5, 0.0);
    close("omega-paper", 0, 40.0 * (u - 1.0).powi(2));
    close("omega-code", 0, (u * u - 1.0).powi(2));
    close("effective-rank", 0, 1.0);
    close("decay", 0, -u.ln());
    close("largest-singular-value", 0, u);
    assert_eq!(line("gate-mean").note.as_deref(), Some("this cell names no gates"));
    assert_eq!(line("lost-to-underflow").note.as_deref(), Some("the network trains in f64"));
    assert!(line("memory-capacity").values[0] <= 1.0 + 1e-2, "one unit");
    let share = &line("long-range-share").values;
    assert!(share.len() == 6 && share[5] < 0.2 * share[0] && share[5] > 0.0, "{share:?}");
    assert!(run.measures.iter().any(|line| line.step == 2), "after training too");
    assert!(
        run.measures.iter().all(|line| line.values.is_empty() == line.note.is_some()),
        "a value, or why not"
    );
    let tiers: Vec<_> = run.record.outcome.measure_seconds.keys().map(String::as_str).collect();
    assert_eq!(tiers, ["dynamics", "gradients"]);
    let again = run::run(&job, &false.into(), &mut |_, _| ());
    assert_eq!(again.measures, run.measures, "the same bits");
    Ok(())
}

/// A linear network of one unit: dL/dh_{T-k} = u^k dL/dh_T, and dL/dh_T = 2 (y - target) v for each
/// example's own loss.
#[test]
fn the_profile_of_a_linear_network_is_a_power_of_its_weight() -> Result<()> {
    let (task, variant) = (adding(40), plain("linear", |x, h| x + h));
    let settings =
        TrainingConfig { dtype: DType::F64, width: Width::Hidden(1), ..settings(task.as_ref(), 1) };
    let job = Job::new(&variant, task.as_ref(), &settings, 1)?;
    let run = run::run(&job, &true.into(), &mut |_, _| ());
    assert_eq!((&run.record.status, run.record.outcome.steps), (&Status::Stopped, 0));

    let (network, params) = Network::trainable(
        &variant,
        job.size(),
        task.as_ref(),
        Readout::Plain,
        job.config.seed,
        DType::F64,
        &job.device,
    )?;
    let number =
        |name: &str| params.get(name).expect("there is one").flatten_all()?.to_vec1::<f64>();
    let (u, v) = (number("rnn.weight_hh")?[0].abs(), number("readout.weight")?[0].abs());
    let draw = BatchKey { split: Split::Test, seed: 1, step: 0, batch: 32 };
    let batch = task.batch(draw, DType::F64, &job.device)?;
    let errors =
        (network.forward(&batch.xs, &ForwardContext::default())? - &batch.targets)?.abs()?;
    let mut errors = errors.flatten_all()?.to_vec1::<f64>()?;
    errors.sort_by(f64::total_cmp);
    let median = v * (errors[15] + errors[16]); // twice the mean of the two in the middle

    let profile = &run.profiles[0];
    for (lag, norm) in profile.median.iter().enumerate() {
        let expected = median * u.powi(lag as i32);
        assert!((norm / expected - 1.0).abs() < 1e-12, "lag {lag}: {norm}, expected {expected}");
    }
    assert!((run.record.spectral_radius["h"] / u - 1.0).abs() < 1e-6);
    let half_life = run.record.gradients.init.h.half_life.expect("it decays");
    assert!((half_life * -u.log2() - 1.0).abs() < 1e-9, "{half_life} of {u}");
    let fit = run.record.gradients.init.h.fit.expect("enough points");
    assert!((fit.r2 - 1.0).abs() < 1e-12 && fit.points == 21, "lags 10 to 30: {fit:?}");
    assert!(
        (run.record.gradients.init.h.ratio.expect("it decays") / u.powi(39) - 1.0).abs() < 1e-10
    );
    let horizon = (1e-3f64.ln() / u.ln()).floor() as usize;
    assert_eq!(run.record.gradients.init.h.horizon, Some(horizon.min(39)), "{u}");
    Ok(())
}

#[test]
fn a_run_ends_when_it_is_solved() {
    let task = Changed { criterion: Some(Criterion::LossBelow(1e9)), ..Changed::new(adding(5)) };
    let run = run(&tanh("t"), &task, &settings(&task, 1000));
    assert_eq!(
        (&run.record.status, run.record.outcome.steps, run.record.config.max_steps()),
        (&Status::Finished, 15, 1000)
    );
    assert_eq!(
        (run.record.outcome.solved, run.record.outcome.steps_to_solve),
        (true, Some(5)),
        "the first of three in a row"
    );
    assert_eq!(run.profiles.last().map(|profile| (profile.step, profile.last)), Some((15, true)));
}

#[test]
fn a_data_set_is_evaluated_after_every_epoch() {
    let task = Changed { criterion: None, examples: Some(20), ..Changed::new(adding(5)) };
    let settings = TrainingConfig { budget: Budget::Epochs(3), ..settings(&task, 0) };
    let run = run(&tanh("t"), &task, &settings);
    // 60 examples in batches of 8; the first epoch ends within step 3, the second with step 5, the
    // third within step 8.
    assert_eq!(run.evals.iter().map(|eval| eval.step).collect::<Vec<_>>(), [3, 5, 8]);
    assert_eq!((run.record.outcome.steps, run.record.config.max_steps()), (8, 8));
}

#[test]
fn a_non_finite_loss_fails_the_run_with_its_step() {
    let task = adding(5);
    let settings = TrainingConfig { lr: 1e30, clip: Clipping::Off, ..settings(task.as_ref(), 10) };
    let run = run(&tanh("t"), task.as_ref(), &settings);
    let expected = "step 2: expected a finite loss, found inf";
    assert_eq!(run.record.status, Status::Failed(expected.to_string()));
    assert_eq!(
        (run.record.outcome.steps, run.steps.len()),
        (1, 2),
        "one was done, the second is recorded"
    );
    assert_eq!(run.steps[1].loss, f64::INFINITY);
    assert!(run.steps[1].grad_norm_clipped.is_nan() && run.record.outcome.final_loss.is_nan());
    let text = serde_json::to_string(&run.steps[1]).expect("it can be written");
    assert!(text.contains(r#""loss":"Infinity""#) && !text.contains("null"), "{text}");
}

#[test]
fn a_nan_gradient_fails_the_run_with_its_name() {
    // The root has an infinite slope at zero, and infinity minus infinity is NaN.
    let root = plain("root", |x, h| (x + h)?.tanh()? + (x - x)?.sqrt()?);
    let task = adding(5);
    let Status::Failed(message) =
        run(&root, task.as_ref(), &settings(task.as_ref(), 10)).record.status
    else {
        panic!("it must fail")
    };
    let start = "step 1: expected finite gradients, found 'rnn.weight_ih' (8 NaN, 0 infinite)";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn a_parameter_without_gradient_fails_the_run_with_its_name() {
    let cut = Variant::new("cut", |size, vb| {
        let f = |x: &Tensor, h: &Tensor| (x + h)?.tanh();
        Ok(Box::new(Cut(Box::new(Rnn::from_cell(crate::cells::Plain::new(size, vb, f)?)))))
    });
    let task = adding(5);
    let run = run(&cut, task.as_ref(), &settings(task.as_ref(), 10));
    let Status::Failed(message) = run.record.status else { panic!("it must fail") };
    assert!(message.contains("step 1: expected a gradient for every parameter"), "{message}");
    assert!(
        message.contains("'rnn.weight_hh', 'rnn.weight_ih'") && !message.contains("readout"),
        "{message}"
    );
    assert_eq!(
        (run.record.outcome.steps, run.profiles.len()),
        (0, 0),
        "no gradient reaches a state"
    );
}

#[test]
fn a_gradient_that_is_zero_from_the_start_fails_the_run_after_ten_steps() {
    let forgetful = plain("forgetful", |x, h| x.tanh()? + (h * 0.0)?);
    let task = adding(5);
    let Status::Failed(message) =
        run(&forgetful, task.as_ref(), &settings(task.as_ref(), 20)).record.status
    else {
        panic!("it must fail")
    };
    assert!(message.starts_with("step 10: ") && message.contains("'rnn.weight_hh'"), "{message}");
}

#[test]
fn a_run_that_is_cancelled_keeps_its_steps() -> Result<()> {
    let (task, variant, cancel) = (adding(5), tanh("t"), AtomicBool::new(false));
    let settings = settings(task.as_ref(), 1000);
    let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
    let run = run::run(&job, &cancel, &mut |step, _| cancel.store(step == 7, Ordering::Relaxed));
    assert_eq!(
        (&run.record.status, run.record.outcome.steps, run.steps.len()),
        (&Status::Stopped, 7, 7)
    );
    assert_eq!(run.record.outcome.final_loss, run.evals[0].loss, "the last evaluation");
    assert_eq!(run.profiles.last().map(|profile| (profile.step, profile.last)), Some((7, true)));
    Ok(())
}

#[test]
fn lengths_are_honoured() -> Result<()> {
    let task = tasks::by_name("temporal-order", Some(20), None)?;
    let size = Size { input: task.input_size(), hidden: 5, longest_lag: 20 };
    let (network, _) = Network::trainable(
        &tanh("t"),
        size,
        task.as_ref(),
        Readout::Plain,
        0,
        DType::F64,
        &Device::Cpu,
    )?;
    let draw = BatchKey { split: Split::Train, seed: 0, step: 0, batch: 6 };
    let batch = task.batch(draw, DType::F64, &Device::Cpu)?;
    let lengths = batch.xs.lengths().expect("they differ").as_slice().to_vec();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
    let outputs = network.forward(&batch.xs, &ForwardContext::default())?;
    for (row, length) in lengths.into_iter().enumerate() {
        let alone = batch.xs.values().narrow(0, row, 1)?.narrow(1, 0, length)?;
        let alone =
            network.forward(&recurrent_core::Sequence::new(alone)?, &ForwardContext::default())?;
        let apart = (outputs.narrow(0, row, 1)? - alone)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(apart < 1e-14, "row {row}: {apart}");
    }
    Ok(())
}

#[test]
fn a_frozen_network_computes_the_same_without_a_graph() -> Result<()> {
    let task = tasks::by_name("copy", Some(3), None)?;
    let (variant, device) = (tanh("t"), Device::Cpu);
    let size = Size { input: task.input_size(), hidden: 5, longest_lag: 13 };
    let (network, params) =
        Network::trainable(&variant, size, task.as_ref(), Readout::Plain, 0, DType::F32, &device)?;
    let frozen = Network::frozen(&variant, size, task.as_ref(), Readout::Plain, &params)?;
    let draw = BatchKey { split: Split::Train, seed: 0, step: 0, batch: 6 };
    let batch = task.batch(draw, DType::F32, &device)?;
    let (alive, frozen) = (
        network.forward(&batch.xs, &ForwardContext::default())?,
        frozen.forward(&batch.xs, &ForwardContext::default())?,
    );
    assert_eq!(alive.to_vec3::<f32>()?, frozen.to_vec3::<f32>()?);
    assert!(alive.track_op() && !frozen.track_op());
    assert_eq!(
        params.element_count(),
        Network::count(&variant, size, task.as_ref(), Readout::Plain)?
    );
    Ok(())
}

#[test]
fn longer_sequences_are_evaluated_on_request() -> Result<()> {
    let task = tasks::by_name("adding", Some(6), None)?;
    let variant = tanh("t");
    for generalise in [false, true] {
        let settings = TrainingConfig { generalise, ..settings(task.as_ref(), 3) };
        let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
        let run = run::run(&job, &false.into(), &mut |_, _| ());
        let lengths: Vec<_> =
            run.record.outcome.generalisation.iter().map(|longer| longer.length).collect();
        assert_eq!(lengths, if generalise { vec![12, 24] } else { vec![] });
        assert!(run
            .record
            .outcome
            .generalisation
            .iter()
            .all(|longer| longer.loss > 0.0 && longer.accuracy.is_none()));
    }
    Ok(())
}

#[test]
fn a_saved_run_gives_its_network_back() -> Result<()> {
    let (task, variant, temp) = (adding(5), tanh("t"), tempfile::tempdir()?);
    let run = run(&variant, task.as_ref(), &settings(task.as_ref(), 12));
    run.write(&OutputDir::create(&temp.path().join("run"))?)?;
    let saved = SavedRun::open(&temp.path().join("run"))?;
    assert_eq!(saved.record.config, run.record.config);

    let key = BatchKey { split: Split::Test, seed: 1, step: 0, batch: 4 };
    let batch = task.batch(key, DType::F32, &Device::Cpu)?;
    let outputs = |network: Network| {
        network.forward(&batch.xs, &ForwardContext::default())?.flatten_all()?.to_vec1::<f32>()
    };
    let job = Job::new(&variant, task.as_ref(), &settings(task.as_ref(), 12), 3)?;
    let weights = candle_core::safetensors::load_buffer(&run.weights, &Device::Cpu)?;
    let found = outputs(saved.network(&variant, task.as_ref())?)?;
    assert_eq!(found, outputs(job.network(weights)?)?);

    let other = tasks::by_name("temporal-order", None, None)?;
    let error = saved.network(&variant, other.as_ref()).err().expect("another task").to_string();
    let expected = "run: expected a run of the task temporal-order, found adding";
    assert!(error.ends_with(expected), "{error}");
    assert!(SavedRun::open(&temp.path().join("nowhere")).is_err());
    Ok(())
}
