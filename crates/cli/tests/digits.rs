//! Real input, in the form of a few made-up files.

use crate::program::{compare, lines, value};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// A tiny MNIST in the new folder `name`. Image i has the label i % 10, and ink in the two columns
/// that encode it.
pub(crate) fn digits(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    for (split, count) in [("train", 640), ("t10k", 120)] {
        let header =
            |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        let ink = |image: u32, layer_id: u32| if layer_id % 28 / 2 == image % 10 { 255 } else { 0 };
        let pixels = (0..count)
            .flat_map(|image| (0..784).map(move |layer_id| ink(image, layer_id)))
            .collect();
        let labels = (0..count).map(|image| (image % 10) as u8).collect();
        let images = [header(&[0x0803, count, 28, 28]), pixels].concat();
        fs::write(folder.join(format!("{split}-images-idx3-ubyte")), images)?;
        let labels = [header(&[0x0801, count]), labels].concat();
        fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), labels)?;
    }
    Ok(folder)
}

#[test]
fn digits_are_read_from_files_and_learnt_by_rows() -> Result<()> {
    let temp = tempfile::tempdir()?;
    digits(temp.path(), "digits")?;
    let args =
        "--task mnist-rows --data digits --variants vanilla,gru --seeds 1 --hidden 16 --batch 8 \
                --epochs 1 --out out";
    let ended = compare(temp.path(), args)?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("accuracy"), "{}", ended.out);
    let progress: Vec<_> = ended.err.lines().collect();
    assert!(
        progress.len() == 2 && progress[1].starts_with("[2/2] "),
        "one line per run: {progress:?}"
    );
    assert!(progress.iter().all(|line| line.contains(": accuracy ")), "{progress:?}");

    let header = value(&temp.path().join("out/comparison.json"))?;
    assert_eq!(
        (&header["config"]["task"]["examples"], &header["config"]["task"]["held_out"]),
        (&640.into(), &120.into())
    );
    let runs = lines(&temp.path().join("out/runs.jsonl"))?;
    assert_eq!(runs.len(), 2);
    for run in runs {
        let (config, outcome) = (&run["config"], &run["outcome"]);
        assert_eq!(
            (&config["task"]["length"], &config["model"]["hidden"]),
            (&28.into(), &16.into())
        );
        assert_eq!(outcome["steps"], 80);
        let (accuracy, baseline) =
            (outcome["accuracy"].as_f64(), config["task"]["baseline"].as_f64());
        assert!(
            accuracy >= Some(0.9) && accuracy <= Some(1.0),
            "the columns give the digit away: {run}"
        );
        assert!(baseline.is_some_and(|nats| (nats - 10f64.ln()).abs() < 1e-9), "{run}");
    }
    Ok(())
}
