//! A folder of checkpoints: which are kept, which is loaded, and the effect of a damaged file or a
//! full disk.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Result, Tensor};
use recurrent_train::{Checkpoint, Checkpoints, StateDict};

fn checkpoint(step: u64) -> Result<Checkpoint<Vec<f64>>> {
    let weights =
        StateDict::from([("w".to_string(), Tensor::full(step as f32, (7, 5), &Device::Cpu)?)]);
    Ok(Checkpoint {
        step,
        weights,
        optimizer: StateDict::new(),
        tensors: StateDict::new(),
        rest: vec![step as f64],
    })
}

fn save(checkpoints: &Checkpoints, steps: impl IntoIterator<Item = u64>) -> Result<Vec<PathBuf>> {
    steps.into_iter().map(|step| checkpoints.save(&checkpoint(step)?)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> =
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The step of the latest checkpoint, and the lines on damaged ones.
fn latest(checkpoints: &Checkpoints) -> Result<(Option<u64>, Vec<String>)> {
    let found = checkpoints.latest::<Vec<f64>>()?;
    if let Some(found) = &found.checkpoint {
        assert_eq!(found.rest, [found.step as f64]);
        assert_eq!(found.weights["w"].to_vec2::<f32>()?, vec![vec![found.step as f32; 5]; 7]);
    }
    Ok((found.checkpoint.map(|found| found.step), found.damaged))
}

#[test]
fn the_last_checkpoints_are_kept() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let checkpoints = Checkpoints::new(temp.path().join("a/b"));
    assert_eq!(latest(&checkpoints)?, (None, vec![]), "there is no folder yet");
    checkpoints.clear()?;
    let paths = save(&checkpoints, [1, 2, 9, 10, 100])?;
    assert_eq!(latest(&checkpoints)?, (Some(100), vec![]));
    let name =
        |path: &PathBuf| path.file_name().expect("it has one").to_string_lossy().into_owned();
    let kept: Vec<_> = paths[3..].iter().map(name).collect();
    assert_eq!(names(checkpoints.folder()), kept);
    let four = checkpoints.clone().keep(4)?;
    save(&four, [101, 102, 103, 104])?;
    assert_eq!(names(four.folder()).len(), 4);
    assert!(checkpoints.clone().keep(0).is_err());

    fs::write(checkpoints.folder().join("notes"), "mine")?;
    fs::write(checkpoints.folder().join(".step-000000000105-00000000.safetensors.part"), "cut")?;
    checkpoints.clear()?;
    assert_eq!(names(checkpoints.folder()), ["notes"], "what is not ours stays");
    assert_eq!(latest(&checkpoints)?.0, None);
    Ok(())
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_is_used() -> Result<()> {
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil); 6] = [
        ("one bit of the last byte", |bytes| *bytes.last_mut().expect("some") ^= 1),
        ("one bit of the header", |bytes| bytes[9] ^= 0x20),
        ("one bit of its length", |bytes| bytes[6] ^= 0x80),
        ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("longer", |bytes| bytes.push(0)),
    ];
    for (what, spoil) in spoil {
        let temp = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(temp.path());
        let paths = save(&checkpoints, [5, 6])?;
        let mut bytes = fs::read(&paths[1])?;
        spoil(&mut bytes);
        fs::write(&paths[1], &bytes)?;
        let (step, damaged) = latest(&checkpoints)?;
        assert_eq!((step, damaged.len()), (Some(5), 1), "{what}: {damaged:?}");
        let expected = format!("checkpoint {}: its checksum is wrong: found ", paths[1].display());
        assert!(damaged[0].starts_with(&expected), "{what}: {damaged:?}");
        // The next checkpoint replaces it, although the damaged one has a later step.
        save(&checkpoints, [4])?;
        assert_eq!(latest(&checkpoints)?, (Some(4), vec![]), "{what}");

        fs::write(&paths[0], "")?;
        fs::write(&paths[1], &bytes)?;
        let (step, damaged) = latest(&checkpoints)?;
        assert_eq!((step, damaged.len()), (Some(4), 2), "{what}: {damaged:?}");
    }
    Ok(())
}

#[test]
fn every_truncated_file_is_detected() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let checkpoints = Checkpoints::new(temp.path());
    let path = save(&checkpoints, [3])?.remove(0);
    let whole = fs::read(&path)?;
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length])?;
        let (step, damaged) = latest(&checkpoints)?;
        assert_eq!((step, damaged.len()), (None, 1), "{length} of {} bytes", whole.len());
    }
    Ok(())
}

#[test]
fn the_checkpoint_of_another_loop_is_an_error() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let checkpoints = Checkpoints::new(temp.path());
    save(&checkpoints, [1])?;
    let error = checkpoints.latest::<String>().expect_err("its rest is a list").to_string();
    assert!(
        error.contains("step-000000000001-")
            && error.contains("it is not a checkpoint of this program"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_failed_write_keeps_the_last_checkpoint() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let checkpoints = Checkpoints::new(temp.path().join("checkpoints"));
    // A file in place of the folder, so that nobody can write below it, with any permissions.
    fs::write(checkpoints.folder(), "in the way")?;
    let error = checkpoints.save(&checkpoint(1)?).expect_err("a file is in the way").to_string();
    assert!(
        error.contains("checkpoints/step-000000000001-") && error.contains("cannot be written: "),
        "{error}"
    );
    fs::remove_file(checkpoints.folder())?;

    let path = save(&checkpoints, [1, 2])?.remove(1);
    let before = fs::read(&path)?;
    // A folder in place of the next temporary file.
    let next = checkpoint(3)?;
    let trial = Checkpoints::new(temp.path().join("trial")).save(&next)?;
    let name = trial.file_name().expect("it has one").to_string_lossy().into_owned();
    let beside = checkpoints.folder().join(format!(".{name}.part"));
    fs::create_dir(&beside)?;
    let error = checkpoints.save(&next).expect_err("a folder is in the way").to_string();
    assert!(error.contains("cannot be written: "), "{error}");
    fs::remove_dir(&beside)?;
    assert_eq!((latest(&checkpoints)?, fs::read(&path)?), ((Some(2), vec![]), before));
    Ok(())
}
