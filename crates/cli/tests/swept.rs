//! The subcommand `sweep`.

use crate::program::{lines, refuses, sweep};
use anyhow::Result;
use std::fs;
use std::path::Path;

fn tiny(folder: &Path, more: &str) -> Result<String> {
    let args =
        "--variants vanilla,lstm+chrono --lengths 4,8 --params 100 --steps 10 --seeds 2 --quiet \
         --out out";
    Ok(sweep(folder, &format!("{args} {more}"))?.well())
}

#[test]
fn a_sweep_prints_and_writes_solve_rates() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let text = tiny(temp.path(), "")?;
    assert!(
        text.starts_with("adding · at most 10 steps · solved if 80 % of the runs solve it\n"),
        "{text}"
    );
    assert!(
        text.contains(
            "\nlstm+chrono: not even T = 4 was solved (0 of 2, 95 % interval 0 %–65.8 %)."
        ),
        "{text}"
    );
    assert_eq!(text.lines().last(), Some("records and report: out/sweep.html"));
    let out = temp.path().join("out");
    let rates = lines(&out.join("sweep.jsonl"))?;
    let of = |line: &serde_json::Value| (line["variant"].clone(), line["length"].clone());
    let order = [("vanilla", 4), ("vanilla", 8), ("lstm+chrono", 4), ("lstm+chrono", 8)];
    assert!(
        rates.iter().map(of).eq(order.map(|(variant, length)| (variant.into(), length.into()))),
        "{rates:?}"
    );
    assert!(
        rates.iter().all(|line| line["runs"] == 2 && line["rate"] == 0.0 && line["failed"] == 0),
        "{rates:?}"
    );
    let maxima = lines(&out.join("maximum.jsonl"))?;
    assert!(
        maxima.len() == 2
            && maxima.iter().all(|line| line["length"].is_null() && line["unsolved"] == 4)
    );
    for length in [4, 8] {
        let runs = lines(&out.join(format!("length-{length}/runs.jsonl")))?;
        assert!(
            runs.len() == 4 && runs.iter().all(|run| run["config"]["task"]["length"] == length),
            "{runs:?}"
        );
        assert!(out.join(format!("length-{length}/report.html")).is_file());
    }
    let chrono = lines(&out.join("length-8/runs.jsonl"))?[2]["config"]["model"]["init"].clone();
    assert_eq!(chrono, "PyTorch, chrono(7)", "the lag is that of each length");
    assert!(fs::read_to_string(out.join("sweep.html"))?.contains("<svg"));
    Ok(())
}

#[test]
fn the_same_sweep_gives_the_same_numbers() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    assert_eq!(tiny(one.path(), "--jobs 2")?, tiny(two.path(), "--jobs 1")?);
    for name in ["sweep.jsonl", "maximum.jsonl", "plots/solve-rate.svg", "length-8/profiles.jsonl"]
    {
        let read = |folder: &Path| fs::read(folder.join("out").join(name));
        assert!(read(one.path())? == read(two.path())? && !read(one.path())?.is_empty(), "{name}");
    }
    Ok(())
}

#[test]
fn mistakes_are_refused_in_one_line() -> Result<()> {
    let cases = [
        ("--lengths 50,25", "lengths: expected increasing numbers, got 25 after 50"),
        ("--lengths 25,1", "adding length: expected 2 to 10000000, got 1"),
        ("--probability 1.5", "probability: expected a number above 0 and up to 1, got 1.5"),
        ("--variants gru+relu", "modifier relu on gru: its cell is not a vanilla network"),
        ("--variants gru --steps 0", "steps: expected at least 1, got 0"),
    ];
    refuses(sweep, &cases)
}
