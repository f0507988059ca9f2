//! Interrupted and resumed runs and comparisons end with the bits of uninterrupted ones.

use crate::cells::{plain, tanh, Changed};
use anyhow::Result;
use recurrent_core::init;
use recurrent_harness::compare::Comparison;
use recurrent_harness::run::{self, Event, Interval, Job, Run};
use recurrent_harness::variant::Variant;
use recurrent_records::config::{Budget, Level, Override, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::{Records, Status};
use recurrent_tasks::task::{BatchKey, Criterion, Split, Task};
use recurrent_tasks::{self as tasks, Text};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

fn settings(task: &dyn Task, steps: u64) -> TrainingConfig {
    TrainingConfig {
        budget: Budget::Steps(steps),
        width: Width::Hidden(4),
        eval_every: 3,
        held_out: Some(100),
        batch: 8,
        ..TrainingConfig::new(task)
    }
}

/// A run without its seconds: its records as text, in which NaN equals itself, and its weights.
fn timeless(mut run: Run) -> (String, Vec<u8>) {
    run.record.outcome.seconds = 0.0;
    run.record.outcome.measure_seconds.values_mut().for_each(|seconds| *seconds = 0.0);
    let weights = std::mem::take(&mut run.weights);
    (format!("{run:?}"), weights)
}

/// The events besides steps, and the run, which is stopped after step `stop` if it gets that far.
fn part(
    job: &Job,
    folder: &OutputDir,
    interval: Interval,
    stop: u64,
) -> Result<(Vec<String>, Run)> {
    let (cancel, mut notes) = (AtomicBool::new(stop == 0), Vec::new());
    let run = run::run_in(job, folder, interval, &cancel, &mut |event| match event {
        Event::Step(step, _) => cancel.store(step == stop, Ordering::Relaxed),
        Event::Resumed(steps) => notes.push(format!("resumed {}", steps.len())),
        Event::Damaged(line) => notes.push(line.to_string()),
        Event::Evaluated(_) | Event::Profiled { .. } => {}
    })?;
    run.write(folder)?;
    Ok((notes, run))
}

const NEVER: Interval = Interval::Time(Duration::MAX);

/// Stops a run after every one of its steps in turn and resumes it: in two parts, and in as many
/// parts as it has steps.
fn at_every_step(job: &Job) -> Result<Run> {
    let straight = run::run(job, &false.into(), &mut |_, _| ());
    let expected = timeless(straight.clone());
    let temp = tempfile::tempdir()?;
    let all = OutputDir::create(&temp.path().join("all"))?;
    let last = straight.steps.len() as u64;
    for step in 0..last {
        let folder = OutputDir::create(&temp.path().join(format!("{step}")))?;
        let (_, stopped) = part(job, &folder, NEVER, step)?;
        assert_eq!(
            (&stopped.record.status, stopped.record.outcome.steps),
            (&Status::Stopped, step)
        );
        assert!(!Run::has_ended(&folder)?);
        let (notes, run) = part(job, &folder, NEVER, u64::MAX)?;
        assert_eq!(
            (notes, timeless(run)),
            (vec![format!("resumed {step}")], expected.clone()),
            "after {step}"
        );
        assert!(Run::has_ended(&folder)?);
        assert!(!folder.path().join("checkpoints").exists(), "it has ended");
        assert_eq!(folder.read("weights.safetensors")?, straight.weights);
        part(job, &all, NEVER, step)?;
    }
    assert_eq!(timeless(part(job, &all, NEVER, u64::MAX)?.1), expected, "step by step");
    Ok(straight)
}

#[test]
fn a_run_stopped_at_any_step_resumes_with_the_same_bits() -> Result<()> {
    let task = tasks::by_name("adding", Some(6), None)?;
    let settings =
        TrainingConfig { measures: Level::Gradients, warmup: 6, ..settings(task.as_ref(), 10) };
    let variant = tanh("t");
    let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
    let run = at_every_step(&job)?;
    assert_eq!(
        (run.record.status, run.evals.len(), run.measures.is_empty()),
        (Status::Finished, 4, false)
    );
    Ok(())
}

#[test]
fn a_resumed_run_is_solved_or_fails_at_the_same_step() -> Result<()> {
    let task = tasks::by_name("adding", Some(6), None)?;
    let easy =
        Changed { criterion: Some(Criterion::LossBelow(1e3)), ..Changed::new(Arc::clone(&task)) };
    let settings = settings(task.as_ref(), 30);
    let variant = tanh("t");
    let job = Job::new(&variant, &easy, &settings, 3)?;
    let run = at_every_step(&job)?;
    assert_eq!((run.record.outcome.steps, run.record.outcome.steps_to_solve), (9, Some(3)));

    // No gradient reaches its weights. This is an error after the first ten steps, over all parts.
    let dead = plain("dead", |x, h| ((x + h)? - 1e3)?.relu());
    let job = Job::new(&dead, task.as_ref(), &settings, 3)?;
    let run = at_every_step(&job)?;
    assert!(
        matches!(&run.record.status, Status::Failed(line) if line.starts_with("step 10: ")),
        "{:?}",
        run.record
    );
    assert!(!run.record.warnings.is_empty());

    let explodes = plain("explodes", |x, h| (x + h)? * 1e20);
    let job = Job::new(&explodes, task.as_ref(), &settings, 3)?;
    let run = at_every_step(&job)?;
    assert!(matches!(run.record.status, Status::Failed(_)) && !run.weights.is_empty());
    Ok(())
}

/// An epoch has three windows, so that parts end within an epoch and at its end.
#[test]
fn the_state_of_a_text_is_carried_across_windows_and_stops() -> Result<()> {
    let words = ["on", " the", " mat", " sat", " a", " cat.\n"];
    let text: String = (0..900).map(|word: usize| words[word * word % 7 % 6]).collect();
    let task: Arc<dyn Task> = Arc::new(Text::new(&text, 5)?);
    let settings = TrainingConfig { batch: text.len() * 9 / 10 / 21, ..settings(task.as_ref(), 8) };
    let draw = |step| BatchKey { split: Split::Train, seed: 3, step, batch: settings.batch };
    let goes_on: Vec<_> = (0..8).map(|step| task.is_stateful(draw(step))).collect();
    assert_eq!(goes_on, [false, true, true, false, true, true, false, true]);
    let variant = tanh("t");
    let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
    let run = at_every_step(&job)?;
    assert_eq!(run.record.config.task.reference, task.reference());

    // Without the carry the first window is the same, and the second differs.
    let forgetful = Changed::new(Arc::clone(&task));
    let forgetful =
        run::run(&Job { task: &forgetful, ..job.clone() }, &false.into(), &mut |_, _| ());
    assert_eq!(run.steps[0].loss, forgetful.steps[0].loss);
    assert_ne!(run.steps[1].loss, forgetful.steps[1].loss);
    Ok(())
}

fn checkpoints(folder: &OutputDir) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder.path().join("checkpoints"))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

#[test]
fn a_damaged_checkpoint_is_skipped_and_reported() -> Result<()> {
    let task = tasks::by_name("adding", Some(6), None)?;
    let (settings, variant) = (settings(task.as_ref(), 12), tanh("t"));
    let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
    let expected = timeless(run::run(&job, &false.into(), &mut |_, _| ()));
    for spoilt in 0..=2 {
        let temp = tempfile::tempdir()?;
        let folder = OutputDir::create(temp.path())?;
        // Saved after steps 2, 4 and 6, and after step 7, where it was stopped.
        part(&job, &folder, Interval::Steps(2), 7)?;
        let paths = checkpoints(&folder)?;
        assert_eq!(paths.len(), 2, "{paths:?}");
        for path in paths.iter().rev().take(spoilt) {
            let mut bytes = fs::read(path)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes)?;
        }
        let (notes, run) = part(&job, &folder, Interval::Steps(2), u64::MAX)?;
        assert_eq!(timeless(run), expected, "{notes:?}");
        let last = [
            "resumed 7",
            "resumed 6",
            "t seed 3 starts again from step 0: its checkpoints are damaged",
        ][spoilt];
        assert_eq!(
            (notes.len(), notes.last().map(String::as_str)),
            (spoilt + 1, Some(last)),
            "{notes:?}"
        );
        assert!(
            notes[..spoilt].iter().all(|note| note.contains("its checksum is wrong: ")),
            "{notes:?}"
        );
    }
    Ok(())
}

#[test]
fn the_checkpoint_of_another_run_is_refused_with_the_difference() -> Result<()> {
    let task = tasks::by_name("adding", Some(6), None)?;
    let (settings, variant) = (settings(task.as_ref(), 12), tanh("t"));
    let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
    let temp = tempfile::tempdir()?;
    let folder = OutputDir::create(temp.path())?;
    part(&job, &folder, NEVER, 5)?;
    let other = Variant { overrides: vec![Override::Lr(0.25)], ..variant.clone() };
    let other = Job::new(&other, task.as_ref(), &settings, 4)?;
    let error = part(&other, &folder, NEVER, u64::MAX).expect_err("of another run");
    let line = format!("{error:#}");
    assert!(
        line.ends_with(
            "it belongs to another run: seed: expected 3, got 4; training.lr: expected 0.005, \
             got 0.25"
        ),
        "{line}"
    );
    part(&job, &folder, NEVER, u64::MAX)?;
    Ok(())
}

fn comparison(variants: Vec<Variant>) -> Comparison {
    let task = tasks::by_name("adding", Some(5), None).expect("long enough");
    let settings = settings(task.as_ref(), 20);
    Comparison {
        seeds: 2,
        seed_offset: 7,
        training: settings,
        jobs: 2,
        ..Comparison::new(task, variants)
    }
}

fn two() -> Comparison {
    comparison(vec![tanh("zebra"), tanh("ape")])
}

fn without_times(mut records: Records) -> Records {
    records.runs.iter_mut().for_each(|run| run.outcome.seconds = 0.0);
    records
}

#[test]
fn a_resumed_comparison_repeats_no_finished_run() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let straight = OutputDir::create(&temp.path().join("straight"))?;
    let expected =
        without_times(two().check()?.run(&straight, &AtomicBool::new(false), &|_| {})?);

    let folder = OutputDir::create(&temp.path().join("parts"))?;
    // It cancels the comparison when it is built for its second run. Both variants are the same
    // network.
    let cancel = Arc::new(AtomicBool::new(false));
    let set = cancel.clone();
    let cancels = tanh("ape");
    let build = cancels.build.clone();
    let cancels = Variant {
        build: Arc::new(move |size, vb| {
            set.fetch_or(init::seed(&vb) == 8, Ordering::Relaxed);
            build(size, vb)
        }),
        ..cancels
    };
    let one = Comparison { jobs: 1, ..comparison(vec![tanh("zebra"), cancels]) };
    let first = one.check()?.run(&folder, &cancel, &|_| {})?;
    let ends: Vec<_> = first
        .runs
        .iter()
        .map(|run| (run.config.model.variant.as_str(), run.config.seed, run.outcome.steps))
        .collect();
    assert_eq!(ends, [("zebra", 7, 20), ("zebra", 8, 20), ("ape", 7, 20), ("ape", 8, 0)]);
    let before =
        ["zebra-7", "zebra-8", "ape-7"].map(|name| folder.read(&format!("runs/{name}/run.json")));
    let before = before.into_iter().collect::<Result<Vec<_>, _>>()?;

    let records = two().check()?.run(&folder, &AtomicBool::new(false), &|_| {})?;
    assert_eq!(without_times(records), expected);
    let after =
        ["zebra-7", "zebra-8", "ape-7"].map(|name| folder.read(&format!("runs/{name}/run.json")));
    assert_eq!(after.into_iter().collect::<Result<Vec<_>, _>>()?, before, "not even their seconds");
    for name in ["steps.jsonl", "evals.jsonl", "profiles.jsonl", "runs/ape-8/weights.safetensors"] {
        assert_eq!(folder.read(name)?, straight.read(name)?, "{name}");
    }
    let header = |folder: &OutputDir| -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&folder.read("comparison.json")?)?)
    };
    let ended = header(&folder)?;
    assert_eq!(
        (&ended["interrupted"], ended["resumed"].as_array().map(Vec::len)),
        (&false.into(), Some(1))
    );

    // Nothing is left to do.
    let records = two().check()?.run(&folder, &AtomicBool::new(false), &|_| {})?;
    assert_eq!((without_times(records), header(&folder)?), (expected, ended));
    Ok(())
}

#[test]
fn another_comparison_in_the_folder_is_refused_with_the_difference() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = OutputDir::create(temp.path())?;
    two().check()?.run(&folder, &AtomicBool::new(true), &|_| {})?; // cancelled before its first run
    type Edit = fn(&mut Comparison);
    let cases: [(Edit, &str); 6] = [
        (|c| c.training.lr = 0.1, "training.lr: expected 0.005, got 0.1"),
        (|c| c.seeds = 3, "seeds: expected [7, 8], got [7, 8, 9]"),
        (|c| c.training.eval_every = 4, "training.eval_every: expected 3, got 4"),
        (
            |c| c.training.measures = Level::Dynamics,
            "training.measures: expected profiles, got dynamics",
        ),
        (|c| c.variants.truncate(1), "variants: expected [zebra, ape], got [zebra]"),
        (
            |c| (c.training.batch, c.training.budget) = (9, Budget::Steps(21)),
            "training.batch: expected 8, got 9; training.budget.steps: expected 20, got 21",
        ),
    ];
    let before = folder.read("comparison.json")?;
    for (edit, expected) in cases {
        let mut other = two();
        edit(&mut other);
        let error =
            other.check()?.run(&folder, &AtomicBool::new(false), &|_| {}).expect_err(expected);
        let expected =
            format!("{}: it holds another comparison: {expected}", temp.path().display());
        assert_eq!((error.to_string(), 1 + u8::from(error.is_config())), (expected, 2));
        assert_eq!(folder.read("comparison.json")?, before);
    }
    Ok(())
}

/// A file in place of a folder of checkpoints stops everybody, whatever their permissions.
#[test]
fn a_comparison_that_cannot_write_checkpoints_fails_and_can_be_resumed() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let expected = two().check()?.run(
        &OutputDir::create(&temp.path().join("straight"))?,
        &AtomicBool::new(false),
        &|_| {},
    )?;
    let folder = OutputDir::create(&temp.path().join("out"))?;
    let in_the_way = folder.inside("runs/zebra-8")?.path().join("checkpoints");
    fs::write(&in_the_way, "in the way")?;
    let saving = Comparison { interval: Interval::Steps(4), jobs: 1, ..two() };
    let error = saving
        .check()?
        .run(&folder, &AtomicBool::new(false), &|_| {})
        .expect_err("a file is in the way");
    let line = recurrent_tasks::usage::line(&error);
    assert!(
        line.contains("the run cannot be kept: checkpoint") && line.contains("zebra-8/checkpoints"),
        "{line}"
    );
    assert_eq!(1 + u8::from(error.is_config()), 1);
    fs::remove_file(in_the_way)?;
    let records = saving.check()?.run(&folder, &AtomicBool::new(false), &|_| {})?;
    assert_eq!(without_times(records), without_times(expected));
    Ok(())
}
