//! A whole comparison, read back from its folder.

use crate::cells::{plain, tanh};
use anyhow::Result;
use recurrent_core::{init, HiddenGradClip, Rnn, Truncation};
use recurrent_harness::compare::Comparison;
use recurrent_harness::size::solve;
use recurrent_harness::variant::Variant;
use recurrent_records::config::{Budget, Clipping, Override, Readout, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::{Records, RunRecord, Status, SCHEMA};
use recurrent_tasks as tasks;
use recurrent_tasks::task::Task;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

fn comparison(variants: Vec<Variant>) -> Comparison {
    let task = tasks::by_name("adding", Some(5), None).expect("long enough");
    let settings = TrainingConfig {
        budget: Budget::Steps(20),
        width: Width::Params(50),
        eval_every: 10,
        held_out: Some(100),
        batch: 8,
        ..TrainingConfig::new(task.as_ref())
    };
    Comparison { seeds: 2, seed_offset: 7, training: settings, ..Comparison::new(task, variants) }
}

fn two() -> Comparison {
    comparison(vec![tanh("zebra"), plain("ape", |x, h| (x + (h * 0.5)?)?.tanh())])
}

fn lines(path: &Path, name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path.join(name))?;
    Ok(text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
}

#[test]
fn a_comparison_is_written_whole_and_in_order() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = OutputDir::create(temp.path())?;
    let comparison = Comparison { command: vec!["compare".into(), "--quick".into()], ..two() };
    let records = comparison.check()?.run(&folder, &AtomicBool::new(false), &|_| {})?;

    let order = [("zebra", 7), ("zebra", 8), ("ape", 7), ("ape", 8)];
    let runs = lines(temp.path(), "runs.jsonl")?;
    let of = |line: &Value| (line["variant"].clone(), line["seed"].clone());
    let of_run = |run: &Value| {
        let config = &run["config"];
        (config["model"]["variant"].clone(), config["seed"].clone())
    };
    assert_eq!(
        runs.iter().map(of_run).collect::<Vec<_>>(),
        order.map(|(variant, seed)| (Value::from(variant), Value::from(seed)))
    );
    for (run, record) in runs.iter().zip(&records.runs) {
        assert_eq!(serde_json::from_value::<RunRecord>(run.clone())?, *record, "and read back");
        let outcome = &run["outcome"];
        assert_eq!(
            (&run["schema"], &run["status"], outcome["final_loss"].as_f64()),
            (&SCHEMA.into(), &"finished".into(), Some(record.outcome.final_loss))
        );
        assert_eq!((&outcome["threads"], &outcome["steps"]), (&1.into(), &20.into()));
    }
    for (name, each, found) in [
        ("steps.jsonl", 20, records.steps.len()),
        ("evals.jsonl", 2, records.evals.len()),
        ("profiles.jsonl", 7, records.profiles.len()), // after 0, 1, 2, 4, 8, 16 and 20 steps
    ] {
        let all = lines(temp.path(), name)?;
        assert_eq!((all.len(), found), (4 * each, 4 * each), "{name}");
        for (part, (variant, seed)) in all.chunks(each).zip(order) {
            assert!(part.iter().all(|line| of(line) == (variant.into(), seed.into())), "{name}");
            let steps: Vec<_> = part.iter().map(|line| line["step"].as_u64()).collect();
            assert!(steps.is_sorted(), "{name}: {steps:?}");
            let own = temp.path().join(format!("runs/{variant}-{seed}"));
            assert_eq!(lines(&own, name)?, part, "{name} is that of the run");
        }
    }
    let header: Value = serde_json::from_slice(&fs::read(temp.path().join("comparison.json"))?)?;
    assert_eq!(header["command"], serde_json::json!(["compare", "--quick"]));
    assert_eq!(
        (&header["config"]["seeds"], &header["interrupted"]),
        (&serde_json::json!([7, 8]), &false.into())
    );
    assert!(
        header["seconds"].as_f64() > Some(0.0) && header["machine"]["cores"].as_u64() > Some(0)
    );
    let left: Vec<_> = fs::read_dir(temp.path())?.collect::<std::io::Result<_>>()?;
    assert_eq!(left.len(), 8, "only these files and the lock: {left:?}");
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_jobs() -> Result<()> {
    let records = |jobs| -> Result<Records> {
        let temp = tempfile::tempdir()?;
        let comparison = Comparison { jobs, ..two() };
        let mut records = comparison.check()?.run(
            &OutputDir::create(temp.path())?,
            &AtomicBool::new(false),
            &|_| {},
        )?;
        records.runs.iter_mut().for_each(|run| run.outcome.seconds = 0.0);
        Ok(records)
    };
    let one = records(1)?;
    assert!(one.steps[0].loss != one.steps[20].loss, "another seed is another run");
    assert_eq!(one, records(3)?);
    Ok(())
}

#[test]
fn a_run_that_fails_does_not_stop_the_others() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let panics = Variant::new("panics", |size, vb| {
        assert!(init::seed(&vb) == 0, "seed {} is not for me", init::seed(&vb));
        let f = |x: &candle_core::Tensor, h: &candle_core::Tensor| (x + h)?.tanh();
        Ok(Box::new(Rnn::from_cell(crate::cells::Plain::new(size, vb, f)?)))
    });
    let explodes = plain("explodes", |x, h| (x + h)? * 1e20);
    let comparison = Comparison { jobs: 2, ..comparison(vec![panics, explodes, tanh("fine")]) };
    let records = comparison.check()?.run(
        &OutputDir::create(temp.path())?,
        &AtomicBool::new(false),
        &|_| {},
    )?;
    let failed = |run: &RunRecord| match &run.status {
        Status::Failed(message) => message.clone(),
        other => format!("{other:?}"),
    };
    let ends: Vec<_> = records.runs.iter().map(failed).collect();
    assert_eq!(ends[0], "panic: seed 7 is not for me");
    assert!(ends[2].starts_with("step 1: expected a finite loss, found "), "{}", ends[2]);
    assert_eq!((ends[4].as_str(), ends[5].as_str()), ("Finished", "Finished"));
    assert_eq!(lines(temp.path(), "runs.jsonl")?.len(), 6);
    assert!(
        lines(temp.path(), "steps.jsonl")?.iter().any(|line| line["loss"].is_string()),
        "the non-finite value"
    );
    Ok(())
}

#[test]
fn finished_runs_are_kept_when_a_comparison_is_cancelled() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let cancel = Arc::new(AtomicBool::new(false));
    let set = cancel.clone();
    // It cancels the comparison when it is built for its second run.
    let cancels = Variant::new("cancels", move |size, vb| {
        set.fetch_or(init::seed(&vb) == 8, Ordering::Relaxed);
        let f = |x: &candle_core::Tensor, h: &candle_core::Tensor| (x + h)?.tanh();
        Ok(Box::new(Rnn::from_cell(crate::cells::Plain::new(size, vb, f)?)))
    });
    let comparison =
        Comparison { jobs: 1, ..comparison(vec![tanh("first"), cancels, tanh("last")]) };
    let records = comparison.check()?.run(&OutputDir::create(temp.path())?, &cancel, &|_| {})?;
    let ends: Vec<_> = records
        .runs
        .iter()
        .map(|run| (run.config.model.variant.as_str(), run.config.seed, &run.status))
        .collect();
    let expected = [
        ("first", 7, &Status::Finished),
        ("first", 8, &Status::Finished),
        ("cancels", 7, &Status::Finished),
        ("cancels", 8, &Status::Stopped),
        ("last", 7, &Status::Finished), // and 8 has not begun
    ];
    assert_eq!(ends, expected);
    assert_eq!(lines(temp.path(), "runs.jsonl")?.len(), 5);
    let header: Value = serde_json::from_slice(&fs::read(temp.path().join("comparison.json"))?)?;
    assert_eq!(header["interrupted"], true);
    Ok(())
}

#[test]
fn sizes_are_the_nearest_to_the_budget() -> Result<()> {
    let (task, variant) = (tasks::by_name("adding", Some(5), None)?, tanh("t"));
    let params = |hidden: usize| 2 * hidden + hidden * hidden + hidden + 1;
    for budget in [5, 6, 8, 9, 100, 1000, 5000, 5001] {
        let solved = solve(Width::Params(budget), &variant, task.as_ref(), Readout::Plain)?;
        let nearest = (1..200).min_by_key(|&hidden| params(hidden).abs_diff(budget)).expect("some");
        assert_eq!(solved, (nearest, params(nearest)), "budget {budget}");
    }
    assert_eq!(solve(Width::Hidden(9), &variant, task.as_ref(), Readout::Plain)?, (9, params(9)));
    let error = solve(Width::Params(4), &variant, task.as_ref(), Readout::Plain)
        .expect_err("too few")
        .to_string();
    assert_eq!(error, "params: expected at least 5, which t has with one hidden unit, got 4");
    Ok(())
}

#[test]
fn mistakes_are_found_before_anything_is_written() {
    type Edit = fn(&mut Comparison);
    let cases: [(Edit, &str); 28] = [
        (|c| c.seeds = 0, "seeds: expected 1 to 1000000, got 0"),
        (
            |c| c.seed_offset = u64::MAX,
            "seed-offset: expected less than 2^64 minus the number of seeds, got",
        ),
        (|c| c.jobs = 0, "jobs: expected 1 to 1024, got 0"),
        (|c| c.seeds = u64::MAX, "seeds: expected 1 to 1000000, got 18446744073709551615"),
        (|c| c.jobs = 100_000, "jobs: expected 1 to 1024, got 100000"),
        (
            |c| c.training.batch = 1 << 40,
            "batch: expected at most 200000000 examples of 5 steps, got 1099511627776",
        ),
        (|c| c.variants.clear(), "variants: expected at least one, got none"),
        (|c| c.variants = vec![tanh("a"), tanh("a")], "variant a: expected once, got twice"),
        (
            |c| c.variants = vec![tanh("../a")],
            "variant \"../a\": expected a name of letters, digits",
        ),
        (|c| c.training.lr = f64::NAN, "lr: expected a positive number, got NaN"),
        (|c| c.training.lr = -1.0, "lr: expected a positive number, got -1"),
        (|c| c.training.lr = 0.0, "lr: expected a positive number, got 0"),
        (
            |c| c.training.clip = Clipping::GlobalNorm(-0.5),
            "clip: expected a positive number, got -0.5",
        ),
        (
            |c| c.training.clip = Clipping::Value(f64::INFINITY),
            "clip: expected a positive number, got inf",
        ),
        (
            |c| c.training.truncation = Some(Truncation::Every(0)),
            "truncation: expected at least 1 step, got 0",
        ),
        (
            |c| c.training.hidden_grad_clip = Some(HiddenGradClip::Norm(0.0)),
            "state clip: expected a positive number, got 0",
        ),
        (|c| c.training.omega = -1.0, "omega: expected a number of at least 0, got -1"),
        (
            |c| c.training.orthogonality = f64::NAN,
            "orthogonality: expected a number of at least 0, got NaN",
        ),
        (
            |c| c.variants[1].overrides = vec![Override::Lr(1.0), Override::Lr(0.0)],
            "variant ape: lr: expected a positive number, got 0",
        ),
        (
            |c| c.variants[0].overrides = vec![Override::Clip(Clipping::PerTensor(-2.0))],
            "variant zebra: clip: expected a positive number, got -2",
        ),
        (
            |c| c.variants[0].overrides = vec![Override::Truncation(Some(Truncation::Last(0)))],
            "variant zebra: truncation: expected at least 1 step, got 0",
        ),
        (|c| c.training.batch = 0, "batch: expected at least 1, got 0"),
        (|c| c.training.budget = Budget::Steps(0), "steps: expected at least 1, got 0"),
        (
            |c| c.training.budget = Budget::Epochs(2),
            "epochs: the task adding is generated and has no epochs",
        ),
        (|c| c.training.width = Width::Hidden(0), "hidden: expected 1 to 8192 units, got 0"),
        (
            |c| c.training.width = Width::Params(1 << 40),
            "params: expected at most 67133441, which zebra has with 8192 hidden units, got \
             1099511627776",
        ),
        (
            |c| c.training.width = Width::Params(3),
            "params: expected at least 5, which zebra has with one",
        ),
        (
            |c| {
                c.variants =
                    vec![Variant::new("odd", |_, _| candle_core::bail!("expected an even number"))]
            },
            "variant odd with 1 hidden unit: expected an even number",
        ),
    ];
    for (edit, expected) in cases {
        let mut comparison = two();
        edit(&mut comparison);
        let error = comparison.check().err().expect("must be refused");
        assert!(error.to_string().starts_with(expected), "{error}, expected {expected}");
        assert_eq!(1 + u8::from(error.is_config()), 2, "{error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

#[test]
fn the_quick_settings_are_short_and_valid() -> Result<()> {
    for (name, length) in [("adding", 2), ("adding", 30), ("adding", 1000), ("copy", 10)] {
        let task: Arc<dyn Task> = tasks::by_name(name, Some(length), None)?;
        let settings = TrainingConfig::quick(task.as_ref());
        settings.validate(task.as_ref())?;
        let steps = settings.steps(task.examples());
        assert!(
            (10..=200).contains(&steps) && settings.held_out(task.as_ref()) <= 200,
            "{name} {length}: {steps}"
        );
    }
    Ok(())
}
