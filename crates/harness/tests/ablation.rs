//! A whole ablation and a whole sweep, with layers that the harness does not know by name.

use crate::cells::tanh;
use anyhow::Result;
use recurrent_harness::ablation::{Ablation, Findings, Measure};
use recurrent_harness::compare::Comparison;
use recurrent_harness::sweep::Sweep;
use recurrent_harness::variant::Variant;
use recurrent_records::config::{Budget, Clipping, Override, TrainingConfig, Width};
use recurrent_records::dir::OutputDir;
use recurrent_records::record::Records;
use recurrent_report as report;
use recurrent_tasks as tasks;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn comparison(length: usize, variants: Vec<Variant>) -> Comparison {
    let task = tasks::by_name("adding", Some(length), None).expect("long enough");
    let settings = TrainingConfig {
        budget: Budget::Steps(12),
        width: Width::Params(50),
        eval_every: 4,
        held_out: Some(100),
        batch: 8,
        ..TrainingConfig::new(task.as_ref())
    };
    Comparison { seeds: 3, seed_offset: 7, training: settings, ..Comparison::new(task, variants) }
}

fn changed(name: &str, change: Override) -> Variant {
    Variant { overrides: vec![change], ..tanh(name) }
}

fn ablation() -> Ablation {
    let off = changed("tanh+no-clip", Override::Clip(Clipping::Off));
    let tight = changed("tanh+clip=0.01", Override::Clip(Clipping::GlobalNorm(0.01)));
    let variants = vec![tanh("tanh"), off, tight];
    Ablation { comparison: comparison(5, variants), rates: vec![0.001, 0.05], tuning_seeds: 2 }
}

fn run(path: &Path) -> Result<Findings> {
    let folder = OutputDir::create(path)?;
    let findings = ablation().check()?.run(&folder, &AtomicBool::new(false), &|_| {})?;
    report::write_ablation(&findings, &["ablate".to_string()], &folder)?;
    Ok(findings)
}

#[test]
fn an_ablation_is_paired_written_and_repeated() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let findings = run(&temp.path().join("one"))?;
    assert_eq!((findings.records.runs.len(), findings.effects.len()), (9, 2 * Measure::ALL.len()));
    assert!(findings
        .records
        .runs
        .iter()
        .all(|run| run.config.model.hidden == findings.records.runs[0].config.model.hidden));

    // Nothing differs before training, and the batches are the same. So the first loss is the same.
    let first = |variant: &str| -> Vec<f64> {
        let steps = findings.records.steps.iter();
        steps
            .filter(|step| step.variant == variant && step.step == 1)
            .map(|step| step.loss)
            .collect()
    };
    assert_eq!((first("tanh").len(), first("tanh")), (3, first("tanh+no-clip")));
    let of = |modifier: &str, measure| {
        let mut effects = findings.effects.iter();
        effects
            .find(|effect| effect.modifier == modifier && effect.measure == measure)
            .expect("all measures of all modifiers")
    };
    let init = of("clip=0.01", Measure::HorizonInit);
    assert_eq!((init.effect, init.low, init.high), (Some(0.0), Some(0.0), Some(0.0)));
    assert_ne!(of("clip=0.01", Measure::FinalLoss).effect, Some(0.0));

    // The chosen rate has the lowest median loss. Its seeds differ from those of the comparison, 7
    // to 9.
    assert_eq!(findings.tuned.len(), 6);
    assert!(findings.tuned.iter().all(|tuned| tuned.seeds == [10, 11]), "{:?}", findings.tuned);
    for pair in findings.tuned.chunks(2) {
        let best = usize::from(pair[1].median_loss < pair[0].median_loss);
        assert!(pair[best].taken && !pair[1 - best].taken, "{pair:?}");
        let taken = |run: &&recurrent_records::record::RunRecord| {
            run.config.model.variant == pair[0].variant
        };
        assert!(
            findings
                .records
                .runs
                .iter()
                .filter(taken)
                .all(|run| run.config.training.lr == pair[best].lr),
            "{pair:?}"
        );
    }

    let again = run(&temp.path().join("two"))?;
    assert_eq!((&again.effects, &again.tuned), (&findings.effects, &findings.tuned));
    for name in ["ablation.jsonl", "tuning.jsonl", "ablation.html", "plots/effect-final-loss.svg"] {
        // All lines except the one with the date and the duration.
        let read = |folder: &str| -> Result<String> {
            let text = fs::read_to_string(temp.path().join(folder).join(name))?;
            Ok(text.lines().filter(|line| !line.contains(" took ")).collect())
        };
        assert!(read("one")? == read("two")? && read("one")?.len() > 200, "{name}");
    }
    for name in ["runs.jsonl", "report.html", "tuning/runs.jsonl"] {
        assert!(temp.path().join("one").join(name).is_file(), "{name}");
    }
    let page = fs::read_to_string(temp.path().join("one/ablation.html"))?;
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    let (content, _) =
        page.rsplit_once("<script>").expect("the program of the page is behind its content");
    assert!(!content.contains("NaN") && !content.contains(">inf"), "no missing number is printed");
    Ok(())
}

#[test]
fn senseless_settings_are_refused() {
    type Edit = fn(&mut Ablation);
    let cases: [(Edit, &str); 8] = [
        (|a| a.comparison.variants.clear(), "variant: expected one, got none"),
        (|a| a.comparison.variants.truncate(1), "modifiers: expected at least one, got none"),
        (
            |a| a.comparison.variants[1].name = "ape".into(),
            "variant ape: expected a name that begins with tanh+",
        ),
        (
            |a| {
                a.comparison.variants[1] =
                    changed("tanh+clip", Override::Clip(Clipping::GlobalNorm(1.0)))
            },
            "modifier clip on tanh: it changes nothing there",
        ),
        (|a| a.rates = vec![0.1, 0.0], "lrs: expected positive numbers, got 0"),
        (|a| a.rates = vec![0.1, 0.1], "lrs: expected each rate once, got 0.1 twice"),
        (
            |a| a.comparison.variants[1] = changed("tanh+lr=1", Override::Lr(1.0)),
            "lrs: tanh+lr=1 sets its learning rate itself",
        ),
        (|a| a.tuning_seeds = 0, "seeds: expected 1 to 1000000, got 0"),
    ];
    for (edit, expected) in cases {
        let mut ablation = ablation();
        edit(&mut ablation);
        let error = ablation.check().err().expect(expected);
        assert_eq!((error.to_string().as_str(), 1 + u8::from(error.is_config())), (expected, 2));
    }
}

#[test]
fn a_sweep_runs_every_length_and_keeps_finished_lengths() -> Result<()> {
    let sweep = Sweep {
        comparisons: [4, 6]
            .map(|length| comparison(length, vec![tanh("one"), tanh("two")]))
            .to_vec(),
        probability: 0.5,
    };
    let temp = tempfile::tempdir()?;
    let folder = OutputDir::create(&temp.path().join("all"))?;
    let mut finished = |records: &Records, folder: &OutputDir| Ok(report::write(records, folder)?);
    let findings = sweep.run(&folder, &AtomicBool::new(false), &|_| {}, &mut finished)?;
    report::write_sweep(&findings, &[], &folder)?;
    let order: Vec<_> =
        findings.rates.iter().map(|rate| (rate.variant.as_str(), rate.length, rate.runs)).collect();
    assert_eq!(order, [("one", 4, 3), ("one", 6, 3), ("two", 4, 3), ("two", 6, 3)]);
    assert_eq!(findings.maxima.len(), 2);
    for name in [
        "sweep.jsonl",
        "maximum.jsonl",
        "sweep.html",
        "plots/solve-rate.svg",
        "length-4/report.html",
        "length-6/runs.jsonl",
    ] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let text = report::sweep(&findings, 100);
    assert!(text.contains("T = 4") && text.contains("one: not even T = 4 was solved"), "{text}");

    let folder = OutputDir::create(&temp.path().join("none"))?;
    let none = sweep.run(&folder, &AtomicBool::new(true), &|_| {}, &mut finished)?;
    report::write_sweep(&none, &[], &folder)?;
    assert!(none.rates.is_empty() && report::sweep(&none, 100).contains("no run has ended"));

    let refused = |probability, lengths: &[usize], expected: &str| {
        let comparisons =
            lengths.iter().map(|length| comparison(*length, vec![tanh("one")])).collect();
        let error = Sweep { comparisons, probability }.check().expect_err(expected);
        assert_eq!((error.to_string().as_str(), 1 + u8::from(error.is_config())), (expected, 2));
    };
    refused(0.5, &[], "lengths: expected at least one, got none");
    refused(0.5, &[6, 4], "lengths: expected increasing numbers, got 4 after 6");
    refused(0.0, &[4], "probability: expected a number above 0 and up to 1, got 0");
    refused(f64::NAN, &[4], "probability: expected a number above 0 and up to 1, got NaN");
    Ok(())
}
