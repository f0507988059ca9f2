//! The output and files of a comparison, and their repeatability.

use crate::program::{compare, lines, tree, without};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A tiny comparison in its own folder, where it writes to `out`, and its output.
fn tiny(more: &str) -> Result<(TempDir, String)> {
    let temp = tempfile::tempdir()?;
    let args =
        "--task adding --length 8 --variants vanilla,lstm-chrono --seeds 2 --steps 20 --quiet \
         --out out";
    let text = compare(temp.path(), &format!("{args} {more}"))?.well();
    Ok((temp, text))
}

const RUNS: [(&str, u64); 4] =
    [("vanilla", 0), ("vanilla", 1), ("lstm-chrono", 0), ("lstm-chrono", 1)];

/// The fields that every line of `runs.jsonl` has at least.
const FIELDS: [&str; 8] = [
    "/schema",
    "/config/ version seed",
    "/config/task/ name length baseline criterion longest_lag",
    "/config/model/ variant summary init options hidden layers params",
    "/config/training/ budget width batch lr clip dtype device",
    "/outcome/ steps solved steps_to_solve final_loss accuracy seconds threads",
    "/gradients/init/h/ half_life fit horizon horizon_epsilon ratio underflow",
    "/clipping/ fraction scale norm_before norm_after",
];

/// The run to which a line belongs.
fn of(line: &Value) -> (&str, u64) {
    let run = line.get("config").map_or((line, line), |config| (&config["model"], config));
    (run.0["variant"].as_str().unwrap_or_default(), run.1["seed"].as_u64().unwrap_or(u64::MAX))
}

#[test]
fn a_comparison_prints_a_table_and_verdicts() -> Result<()> {
    let (_temp, text) = tiny("")?;
    let layer_id =
        |words: &str| text.find(words).with_context(|| format!("no {words:?} in {text}"));
    let order = [
        "variant ",
        "\nvanilla ",
        "\nlstm-chrono ",
        "against lag",
        "\nvanilla: ",
        "\nlstm-chrono: ",
    ];
    let places: Vec<_> = order.into_iter().map(layer_id).collect::<Result<_>>()?;
    assert!(places.is_sorted(), "table, plot, verdicts: {places:?} in {text}");
    assert!(
        (places[1]..places[3]).contains(&layer_id("not solved in 20 steps")?),
        "in the table: {text}"
    );
    assert_eq!(text.lines().last(), Some("records and report: out/report.html"));
    Ok(())
}

#[test]
fn a_comparison_writes_its_records() -> Result<()> {
    let (temp, _) = tiny("")?;
    let out = temp.path().join("out");
    let files = tree(&out)?;
    let top: BTreeSet<_> =
        files.keys().filter_map(|name| name.split_inclusive('/').next()).collect();
    let expected =
        ".lock comparison.json evals.jsonl measures.jsonl plots/ profiles.jsonl report.html \
         runs.jsonl runs/ steps.jsonl";
    assert!(
        top.iter().eq(expected.split(' ').collect::<Vec<_>>().iter()),
        "{top:?}, expected {expected}"
    );
    for (variant, seed) in RUNS {
        for name in [
            "",
            "run.json",
            "steps.jsonl",
            "evals.jsonl",
            "profiles.jsonl",
            "measures.jsonl",
            "weights.safetensors",
        ] {
            let name = format!("runs/{variant}-{seed}/{name}");
            assert!(files.contains_key(&name), "{name} is missing");
        }
    }

    let runs = lines(&out.join("runs.jsonl"))?;
    assert_eq!(runs.iter().map(of).collect::<Vec<_>>(), RUNS);
    for run in &runs {
        for fields in FIELDS {
            let (group, names) = fields.split_once(' ').unwrap_or((fields, ""));
            for name in names.split(' ') {
                assert!(
                    run.pointer(&format!("{group}{name}")).is_some(),
                    "{group}{name}: missing in {run}"
                );
            }
        }
        let (length, outcome) = (&run["config"]["task"]["length"], &run["outcome"]);
        let (steps, solved) = (&outcome["steps"], &outcome["solved"]);
        assert_eq!((length, steps, solved), (&8.into(), &20.into(), &false.into()));
        assert!(
            outcome["final_loss"].as_f64() > Some(0.0) && outcome["steps_to_solve"].is_null(),
            "{run}"
        );
        assert!(
            run["config"]["model"]["params"]
                .as_u64()
                .is_some_and(|params| params.abs_diff(5000) < 150),
            "{run}"
        );
    }
    // Profiles are taken after 0, 1, 2, 4, 8, 16 and 20 steps, of h, and of c if the state has one.
    for (name, fields, counts) in [
        ("steps", "loss lr grad_norm grad_norm_clipped", [20; 4]),
        ("evals", "loss accuracy", [1; 4]),
        ("profiles", "layer direction part lag median q25 q75 mean", [7, 7, 14, 14]),
    ] {
        let all = lines(&out.join(format!("{name}.jsonl")))?;
        let found = RUNS.map(|run| all.iter().filter(|line| of(line) == run).count());
        assert_eq!((found, all.len()), (counts, counts.iter().sum()), "{name}");
        let whole =
            |field| all.iter().all(|line| line["step"].is_u64() && line.get(field).is_some());
        assert!(fields.split(' ').all(whole), "{name}: {fields} in every line");
    }
    Ok(())
}

#[test]
fn a_comparison_writes_a_report_that_stands_alone() -> Result<()> {
    let (temp, _) = tiny("")?;
    let files = tree(&temp.path().join("out"))?;
    let report = std::str::from_utf8(&files["report.html"])?.trim().to_lowercase();
    assert!(report.starts_with("<!doctype html>") && report.ends_with("</html>"));
    for outside in ["src=", "<link", "@import", "url(", "http"] {
        let inside = |(at, _)| {
            // Links to papers and documents are for readers: the page itself loads nothing.
            ["href=\"", "createobject", "revokeobject"]
                .iter()
                .any(|name| report[..at].ends_with(name))
                || ["url(#", "http://www.w3.org/"].iter().any(|name| report[at..].starts_with(name))
        };
        assert!(
            report.match_indices(outside).all(inside),
            "the report needs something else: {outside}"
        );
    }
    assert!(report.matches("<svg").count() >= 5, "the plots are in it");
    for kind in ["profiles-h-init", "profiles-h-final", "loss-", "heat-vanilla", "heat-lstm-chrono"]
    {
        let start = format!("plots/{kind}");
        let plots = files.iter().filter(|(name, _)| name.starts_with(&start));
        let (tables, plots): (Vec<_>, Vec<_>) = plots.partition(|(name, _)| name.ends_with(".csv"));
        assert!(tables.iter().all(|(_, table)| table.contains(&b'\n')), "{tables:?}");
        assert!(!plots.is_empty(), "no plot {kind} in {:?}", files.keys());
        for (name, plot) in plots {
            let plot = std::str::from_utf8(plot)?.trim();
            let whole = plot.contains("<svg ") && plot.ends_with("</svg>");
            assert!(whole && name.ends_with(".svg"), "{name}");
        }
    }
    Ok(())
}

/// The fields that depend on the clock, on the command and on the number of runs side by side.
const TIMES: [&str; 5] = ["seconds", "started", "command", "request", "jobs"];

/// The files of a comparison without these fields.
fn timeless(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = tree(folder)?;
    for (name, bytes) in &mut files {
        if name.ends_with("report.html") {
            // Its tables show times; its plots do not.
            let plots = std::str::from_utf8(bytes)?.split("<svg").skip(1);
            *bytes =
                plots.filter_map(|plot| plot.split("</svg>").next()).collect::<String>().into();
        } else if ["runs.jsonl", "run.json", "comparison.json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
            let mut values = values.collect::<serde_json::Result<Vec<_>>>()?;
            for value in &mut values {
                without(value, &TIMES);
            }
            *bytes = serde_json::to_vec(&values)?;
        }
    }
    Ok(files)
}

#[test]
fn the_same_command_gives_the_same_files_with_any_number_of_jobs() -> Result<()> {
    let files = |jobs| -> Result<_> {
        let (temp, text) = tiny(&format!("--jobs {jobs}"))?;
        let verdicts =
            text.find("\nvanilla: ").with_context(|| format!("no verdicts in {text}"))?;
        let mut files = timeless(&temp.path().join("out"))?;
        files.insert("verdicts".to_string(), text[verdicts..].into());
        Ok(files)
    };
    let first = files(2)?;
    for name in ["runs.jsonl", "steps.jsonl", "profiles.jsonl", "report.html"] {
        assert!(first[name].len() > 1000, "otherwise nothing is compared: {name}");
    }
    for jobs in [2, 1] {
        let again = files(jobs)?;
        assert!(again.keys().eq(first.keys()), "{:?}, {:?}", again.keys(), first.keys());
        let other: Vec<_> = first.keys().filter(|name| again[*name] != first[*name]).collect();
        assert!(other.is_empty(), "{jobs} jobs: {other:?} differ");
    }
    Ok(())
}

#[test]
fn variants_have_modifiers_after_their_names() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let name = "lstm+zoneout=0.1:0.2+clip=0.5";
    let args = format!(
        "--length 8 --variants lstm,{name} --hidden 5 --seeds 1 --steps 20 --quiet --out out"
    );
    let text = compare(temp.path(), &args)?.well();
    assert!(text.contains(&format!("\n{name}: ")), "{text}");
    let runs = lines(&temp.path().join("out/runs.jsonl"))?;
    assert_eq!(
        (
            &runs[1]["config"]["model"]["variant"],
            &runs[1]["config"]["training"]["clip"]["global-norm"],
            &runs[0]["config"]["training"]["clip"]["global-norm"]
        ),
        (&name.into(), &0.5.into(), &1.0.into())
    );
    assert_eq!(
        (
            &runs[1]["config"]["model"]["options"]["recurrent_dropout.zoneout_c"],
            &runs[0]["config"]["model"]["options"]["recurrent_dropout.zoneout_c"]
        ),
        (&"0.2".into(), &Value::Null)
    );
    assert_eq!(
        runs[1]["spectral_radius"], runs[0]["spectral_radius"],
        "the weights begin with the same bits"
    );
    let folder = temp.path().join("out/runs/lstm+zoneout=0.1_0.2+clip=0.5-0");
    assert!(folder.is_dir(), "a colon cannot stand in a folder's name everywhere");
    Ok(())
}

#[test]
fn the_default_folder_is_a_new_one_each_time() -> Result<()> {
    let temp = tempfile::tempdir()?;
    for count in 1..=2 {
        let text = compare(temp.path(), "--quick --variants vanilla --quiet")?.well();
        let written =
            text.lines().last().and_then(|line| line.strip_prefix("records and report: "));
        let written = temp.path().join(written.context("the last line says where")?);
        assert!(
            written.starts_with(temp.path().join("runs")) && written.is_file(),
            "{}",
            written.display()
        );
        for folder in fs::read_dir(temp.path().join("runs"))? {
            assert!(folder?.file_name().to_string_lossy().starts_with("adding-"));
        }
        assert_eq!(fs::read_dir(temp.path().join("runs"))?.count(), count);
        let runs = lines(&written.with_file_name("runs.jsonl"))?;
        assert_eq!(
            (runs.len(), &runs[0]["config"]["task"]["length"], &runs[0]["outcome"]["steps"]),
            (1, &30.into(), &200.into())
        );
    }
    Ok(())
}
