//! The subcommand `ablate`.

use crate::program::{ablate, lines, refuses, value};
use anyhow::Result;
use std::fs;
use std::path::Path;

const MODIFIERS: &str = "clip=0.1,forget-bias=1,chrono,layernorm,residual,attention,tbptt=3";

/// A tiny ablation that writes to `out`. Returns its standard output.
fn tiny(folder: &Path, more: &str) -> Result<String> {
    let args = format!(
        "--length 8 --hidden 4 --steps 20 --modifiers {MODIFIERS} --seeds 5 --quiet --out out {more}"
    );
    Ok(ablate(folder, &args)?.well())
}

#[test]
fn an_ablation_prints_and_writes_effects() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let text = tiny(temp.path(), "")?;
    assert!(
        text.starts_with("adding, T = 8 · lstm with each of 7 modifiers · 5 runs each\n"),
        "{text}"
    );
    assert_eq!(text.lines().last(), Some("records and report: out/ablation.html"));
    let out = temp.path().join("out");
    let effects = lines(&out.join("ablation.jsonl"))?;
    assert_eq!(effects.len(), 7 * 6);
    for (effect, modifier) in effects.chunks(6).zip(MODIFIERS.split(',')) {
        assert!(text.contains(&format!("\n{modifier}: ")), "no words on {modifier} in {text}");
        for line in effect {
            assert_eq!(
                (&line["modifier"], &line["base"], &line["base_runs"]),
                (&modifier.into(), &"lstm".into(), &5.into())
            );
            let verdict = line["verdict"].as_str().unwrap_or_default().replace('-', " ");
            assert!(text.contains(&verdict), "{verdict} of {line}");
        }
    }
    let of = |modifier: &str, measure: &str| {
        effects
            .iter()
            .find(|line| line["modifier"] == modifier && line["measure"] == measure)
            .expect("all of all")
    };
    let (clip, chrono) = (of("clip=0.1", "decay-init"), of("chrono", "decay-init"));
    assert_eq!(
        (&clip["effect"], &clip["verdict"]),
        (&0.0.into(), &"no-effect-shown".into()),
        "weights begin alike"
    );
    assert!(chrono["effect"].as_f64() < Some(0.0), "the gates are more open: {chrono}");
    assert_eq!(
        of("chrono", "steps-to-solve")["verdict"],
        "not-enough-evidence",
        "20 steps solve nothing"
    );
    for run in lines(&out.join("runs.jsonl"))? {
        let config = &run["config"];
        let clip = match config["model"]["variant"] == "lstm+clip=0.1" {
            true => serde_json::json!({ "global-norm": 0.1 }),
            false => "off".into(),
        };
        assert_eq!(
            (&config["training"]["clip"], &config["model"]["hidden"]),
            (&clip, &4.into()),
            "{run}"
        );
    }
    let page = fs::read_to_string(out.join("ablation.html"))?;
    assert!(
        page.contains("recurrent ablate --length 8") && page.matches("<svg").count() >= 5,
        "{page}"
    );
    Ok(())
}

#[test]
fn the_same_ablation_gives_the_same_numbers() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let rates = "--lrs 0.001,0.01 --tuning-seeds 2";
    let texts = [
        tiny(one.path(), &format!("{rates} --jobs 2"))?,
        tiny(two.path(), &format!("{rates} --jobs 1"))?,
    ];
    assert_eq!(texts[0], texts[1]);
    for name in ["ablation.jsonl", "tuning.jsonl", "profiles.jsonl"] {
        let read = |folder: &Path| fs::read(folder.join("out").join(name));
        assert!(read(one.path())? == read(two.path())? && !read(one.path())?.is_empty(), "{name}");
    }
    let tuned = lines(&one.path().join("out/tuning.jsonl"))?;
    assert_eq!(tuned.len(), 8 * 2);
    assert_eq!(
        tuned.iter().filter(|line| line["taken"] == true).count(),
        8,
        "a rate for each variant"
    );
    Ok(())
}

#[test]
fn rates_are_tried_on_a_part_of_the_training_set() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args = "--task mnist1d --variant gru --modifiers clip --lrs 0.001,0.01 --tuning-seeds 1 \
        --steps 2 --hidden 2 --seeds 1 --quiet --out out";
    ablate(temp.path(), args)?.well();
    for (header, examples, held_out) in
        [("out/comparison.json", 4000, 1000), ("out/tuning/comparison.json", 3600, 400)]
    {
        let task = &value(&temp.path().join(header))?["config"]["task"];
        assert_eq!(
            (&task["examples"], &task["held_out"]),
            (&examples.into(), &held_out.into()),
            "{header}"
        );
    }
    Ok(())
}

#[test]
fn modifiers_are_listed_and_mistakes_refused_in_one_line() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let list = ablate(temp.path(), "--list")?.well();
    let specs = recurrent::modifier::specs().chain(recurrent_harness::overrides::specs());
    for spec in specs.clone() {
        assert!(
            list.lines()
                .any(|line| line.trim().starts_with(spec.usage) && line.contains(spec.summary)),
            "{}",
            spec.usage
        );
    }
    assert_eq!(list.lines().count(), specs.count());
    let cases = [
        (
            "--variant vanilla --modifiers chrono",
            "modifier chrono on vanilla: init forget_bias: this cell has no gate that keeps the old state",
        ),
        (
            "--modifiers chorno",
            "modifier chorno: no such modifier; the nearest is chrono, `recurrent list --modifiers` shows all",
        ),
        ("--modifiers no-clip", "modifier no-clip on lstm: it changes nothing there"),
        ("--clip 1 --modifiers clip=1", "modifier clip=1 on lstm: it changes nothing there"),
        ("--modifiers clip,clip", "variant lstm+clip: expected once, got twice"),
        ("--modifiers lr=1 --lrs 0.1,0.2", "lrs: lstm+lr=1 sets its learning rate itself"),
        ("--lrs 0.1,-1", "lrs: expected positive numbers, got -1"),
        ("--variant lsmt", "variant lsmt: no such variant; the nearest is lstm, --list shows all"),
        ("--seeds 0", "seeds: expected 1 to 1000000, got 0"),
    ];
    refuses(ablate, &cases)
}
