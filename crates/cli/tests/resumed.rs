//! What `--resume` accepts, refuses and leaves unchanged.

use crate::program::{ablate, compare, sweep, timeless, tree, Ended};
use anyhow::Result;
use std::fs;

const ARGS: &str = "--length 8 --variants vanilla,gru --seeds 2 --steps 20 --quiet";

#[test]
fn a_finished_comparison_is_not_repeated_and_its_report_is_rewritten() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let printed = compare(temp.path(), &format!("{ARGS} --out out"))?.well();
    let before = tree(&temp.path().join("out"))?;
    fs::remove_file(temp.path().join("out/report.html"))?;
    fs::remove_file(temp.path().join("out/steps.jsonl"))?;
    // The same command once more, and no options at all.
    for args in [format!("{ARGS} --resume out"), "--resume out".to_string()] {
        let Ended { code, out, err } = compare(temp.path(), &args)?;
        assert_eq!(
            (code, err.as_str()),
            (Some(0), "4 of 4 runs ended before and are not repeated\n")
        );
        assert_eq!(out, printed);
        assert!(tree(&temp.path().join("out"))? == before, "times and all");
    }
    // A missing run is trained again.
    fs::remove_dir_all(temp.path().join("out/runs/gru-1"))?;
    compare(temp.path(), "--resume out --jobs 1")?.well();
    compare(temp.path(), &format!("{ARGS} --out straight"))?.well();
    assert!(timeless(&temp.path().join("out"))? == timeless(&temp.path().join("straight"))?);
    Ok(())
}

#[test]
fn options_that_contradict_are_refused_by_name() -> Result<()> {
    let temp = tempfile::tempdir()?;
    compare(temp.path(), &format!("{ARGS} --out out"))?.well();
    fs::create_dir(temp.path().join("empty"))?;
    let before = tree(temp.path())?;
    for (args, expected) in [
        (
            "--resume out --lr 0.1",
            "out: it holds another comparison: training.lr: expected 0.005, got 0.1",
        ),
        ("--resume out --seeds 3", "resume out: expected --seeds 2 as at its start, got 3"),
        (
            "--resume out --seeds 2 --task copy",
            "resume out: expected --task adding as at its start, got copy",
        ),
        (
            "--resume out --variants gru",
            "resume out: expected --variants vanilla,gru as at its start, got gru",
        ),
        (
            "--resume out --epochs 2",
            "resume out: expected --steps 20 as at its start, got --epochs 2",
        ),
        (
            "--resume out --out new",
            "the argument '--resume <DIR>' cannot be used with '--out <DIR>'",
        ),
        (
            "--resume empty",
            "resume empty: expected a folder of compare, found no comparison.json in it",
        ),
        ("--resume nowhere", "resume nowhere: no such folder"),
        ("--checkpoint-every 0", "checkpoint-every: expected at least 1 step, got 0"),
    ] {
        let Ended { code, out, err } = compare(temp.path(), args)?;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args}: {err}");
        assert!(
            err.starts_with(&format!("error: {expected}")) && err.lines().count() == 1,
            "{args}: {err}"
        );
    }
    let refused = sweep(temp.path(), "--resume out")?;
    assert_eq!(
        (refused.code, refused.err.as_str()),
        (Some(2), "error: resume out: expected a folder of sweep, found one of compare\n")
    );
    assert!(tree(temp.path())? == before);
    Ok(())
}

#[test]
fn sweeps_and_ablations_are_resumed_too() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    let args = "--variants vanilla --lengths 5,8 --seeds 2 --steps 20 --quiet";
    sweep(folder, &format!("{args} --out straight"))?.well();
    sweep(folder, &format!("{args} --out out"))?.well();
    fs::remove_dir_all(folder.join("out/length-8"))?;
    fs::remove_file(folder.join("out/length-5/runs/vanilla-1/run.json"))?;
    fs::remove_file(folder.join("out/sweep.jsonl"))?;
    assert_eq!(sweep(folder, "--resume out")?.code, Some(0));
    assert!(timeless(&folder.join("out"))? == timeless(&folder.join("straight"))?);

    let args = "--variant lstm --modifiers chrono --lrs 0.01,0.002 --tuning-seeds 1 --length 6 \
        --seeds 2 --steps 20 --quiet";
    ablate(folder, &format!("{args} --out straight-ablation"))?.well();
    ablate(folder, &format!("{args} --out ablation"))?.well();
    fs::remove_file(folder.join("ablation/comparison.json"))?;
    fs::remove_dir_all(folder.join("ablation/runs"))?;
    assert_eq!(ablate(folder, "--resume ablation")?.code, Some(0));
    assert!(timeless(&folder.join("ablation"))? == timeless(&folder.join("straight-ablation"))?);
    Ok(())
}
