//! Comparisons that are killed, at random moments or by a full disk, and resumed with `--resume`.

use crate::interrupted::{interrupt, start};
use crate::program::{command, compare, timeless, Ended};
use anyhow::{Context, Result};
use std::fs;
use std::io::{stderr, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Three networks and six runs of 40 steps, which use every kind of saved state and are saved after
/// every step.
const SHORT: &str =
    "--length 6 --variants vanilla,lstm+clip=0.1,gru+attention --seeds 2 --steps 40 --hidden 3 \
     --jobs 2 --checkpoint-every 1 --quiet";

/// Prints a line that is shown even if the output of passing tests is not.
fn say(line: &str) -> Result<()> {
    Ok(writeln!(stderr(), "{line}")?)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Uniform in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The state of the folders at the kills.
#[derive(Debug, Default)]
struct Kills {
    all: u64,
    /// The kill came while a file was being written: its temporary file exists.
    writing: u64,
    /// The kill came when there was a checkpoint to resume from.
    saved: u64,
    /// The kill came before anything was written.
    early: u64,
}

/// Whether a file below the folder has a matching name.
fn has(folder: &Path, name: fn(&str) -> bool) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(name);
        if named || path.is_dir() && has(&path, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Starts or resumes a comparison, kills it after a while, and returns whether it had ended before.
fn killed(folder: &Path, out: &str, after: Duration, kills: &mut Kills) -> Result<bool> {
    let begun = folder.join(out).join("comparison.json").exists();
    let mut command = command(
        "",
        folder,
        &if begun { format!("--resume {out}") } else { format!("{SHORT} --out {out}") },
    );
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn()?;
    // This does not wait for an event: the test is about the moment of the kill.
    std::thread::sleep(after);
    child.kill()?;
    let output = child.wait_with_output()?;
    if output.status.signal() != Some(9) {
        assert!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        return Ok(true);
    }
    kills.all += 1;
    if folder.join(out).is_dir() {
        kills.writing += u64::from(has(&folder.join(out), |name| name.ends_with(".part"))?);
        kills.saved += u64::from(has(&folder.join(out), |name| name.starts_with("step-"))?);
        kills.early += u64::from(!folder.join(out).join("comparison.json").exists());
    }
    Ok(false)
}

/// 50 kills, or the number in the environment variable `RECURRENT_KILLS`, with delays drawn from
/// `RECURRENT_KILL_SEED`.
#[test]
fn a_comparison_killed_at_random_moments_ends_with_the_same_bits() -> Result<()> {
    let number = |name: &str, default: u64| -> Result<u64> {
        std::env::var(name)
            .map_or(Ok(default), |text| text.parse().with_context(|| name.to_string()))
    };
    let (wanted, seed) = (number("RECURRENT_KILLS", 50)?, number("RECURRENT_KILL_SEED", 0)?);
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    let begin = Instant::now();
    compare(folder, &format!("{SHORT} --out straight"))?.well();
    let whole = begin.elapsed();
    let expected = timeless(&folder.join("straight"))?;

    let (mut random, mut kills, mut rounds) = (Random(seed), Kills::default(), 0);
    while kills.all < wanted {
        rounds += 1;
        let out = format!("out-{rounds}");
        let mut ended = false;
        while !ended && kills.all < wanted {
            ended = killed(folder, &out, whole.mul_f64(0.6 * random.next()), &mut kills)?;
        }
        if !ended && folder.join(&out).join("comparison.json").exists() {
            let end = compare(folder, &format!("--resume {out}"))?;
            assert_eq!(end.code, Some(0), "{}", end.err);
        } else if !ended {
            compare(folder, &format!("{SHORT} --out {out}"))?.well();
        }
        let found = timeless(&folder.join(&out))?;
        assert!(found.keys().eq(expected.keys()), "{out}: {:?}", found.keys());
        for (name, content) in &expected {
            assert!(
                found[name] == *content,
                "{out}/{name} has other bits after {kills:?}, seed {seed}"
            );
        }
    }
    let Kills { all, writing, saved, early } = kills;
    say(&format!(
        "{all} kills of {rounds} comparisons: {writing} while a file was being written, {saved} \
         with a checkpoint to go on from, {early} before anything was; all ended with the same \
         bits. Whole: {:.2} s",
        whole.as_secs_f64()
    ))?;
    assert!(saved > 0, "otherwise the test shows nothing");
    Ok(())
}

#[test]
fn an_interrupted_comparison_is_resumed() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    let args = "--length 8 --variants vanilla,gru --seeds 6 --steps 300 --hidden 4 --jobs 2";
    compare(folder, &format!("{args} --quiet --out straight"))?.well();
    let mut child = start(folder, &format!("{args} --out out"), command)?;
    let mut progress = BufReader::new(child.stderr.take().context("it is piped")?);
    let mut rest = String::new();
    progress.read_line(&mut rest)?;
    interrupt(&child)?;
    progress.read_to_string(&mut rest)?;
    assert_eq!(child.wait_with_output()?.status.code(), Some(130), "{rest}");

    let end = compare(folder, "--resume out")?;
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert!(end.err.contains("of 12 runs ended before and are not repeated\n"), "{}", end.err);
    assert!(end.err.contains(" continues after step "), "{}", end.err);
    assert_eq!(end.err.matches("\n[12/12] ").count(), 1, "{}", end.err);
    assert!(timeless(&folder.join("out"))? == timeless(&folder.join("straight"))?);
    Ok(())
}

#[test]
fn a_second_program_on_the_folder_is_refused_until_the_first_is_gone() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args =
        "--length 8 --variants vanilla --seeds 1 --steps 1000000000 --lr 1e-9 --quiet --out out";
    let mut child = command("", temp.path(), args).spawn()?;
    let limit = Instant::now() + Duration::from_secs(120);
    while !temp.path().join("out/comparison.json").exists() {
        let ended = child.try_wait()?;
        assert!(ended.is_none() && Instant::now() < limit, "it does not start: {ended:?}");
        std::thread::yield_now();
    }
    for (args, option) in [("--resume out", "resume"), ("--out out", "out")] {
        let refused = compare(temp.path(), args)?;
        let line = format!("error: {option} out: another program is writing to this folder\n");
        assert_eq!((refused.code, refused.err), (Some(2), line));
    }
    child.kill()?;
    child.wait()?;
    let free = compare(temp.path(), "--resume out --lr 0.5")?;
    assert_eq!(free.err, "error: resume out: expected --lr 1e-9 as at its start, got 0.5\n");
    Ok(())
}

/// A comparison that failed for lack of room is resumed elsewhere and ends as if it had never
/// failed.
fn goes_on(folder: &Path, args: &str) -> Result<()> {
    assert!(
        has(&folder.join("out"), |name| name.starts_with("step-"))?,
        "the last good checkpoint exists"
    );
    assert!(
        !has(&folder.join("out"), |name| name.ends_with(".part"))?,
        "no temporary file is left"
    );
    let end = compare(folder, "--resume out")?;
    assert_eq!(end.code, Some(0), "{}", end.err);
    compare(folder, &format!("{args} --out straight"))?.well();
    assert!(timeless(&folder.join("out"))? == timeless(&folder.join("straight"))?);
    Ok(())
}

/// One run whose checkpoints grow beyond 64 KiB.
const GROWS: &str =
    "--length 6 --variants vanilla --seeds 1 --steps 1500 --hidden 3 --checkpoint-every 50 --jobs \
     1 --quiet";

/// The size of files is limited. A program that does not die of the signal gets an error like that
/// of a full disk, in other words.
#[test]
fn with_limited_file_sizes_the_error_is_clear_and_the_last_checkpoint_stays() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let script = temp.path().join("limited");
    fs::write(&script, "trap '' XFSZ\nulimit -f 100\nexec \"$@\"\n")?; // in blocks of 512 bytes
    let before = format!("sh {}", script.display());
    let ended = Ended::of(&mut command(&before, temp.path(), &format!("{GROWS} --out out")))?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let begins =
        "error: the run cannot be kept: checkpoint out/runs/vanilla-0/checkpoints/step-0000";
    assert!(
        ended.err.starts_with(begins) && ended.err.contains("cannot be written: "),
        "{}",
        ended.err
    );
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    goes_on(temp.path(), GROWS)
}

/// A file system of 160 KiB of its own, and then a read-only one, if this system lets the tests
/// mount one.
#[test]
fn on_a_full_disk_and_a_read_only_one_the_error_is_clear_and_the_last_checkpoint_stays(
) -> Result<()> {
    const NAME: &str =
        "on_a_full_disk_and_a_read_only_one_the_error_is_clear_and_the_last_checkpoint_stays";
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    fs::create_dir(folder.join("disk"))?;
    let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh"];
    let mounts = |script: &str| {
        let mut command = Command::new(unshare[0]);
        command.args(&unshare[1..]).args(["-c", script]).current_dir(folder);
        command.output().is_ok_and(|output| output.status.success())
    };
    if !mounts("mount -t tmpfs -o size=160k none disk") {
        return say(&format!(
            "{NAME}: NOT RUN, this system lets nobody mount a file system of their own"
        ));
    }
    let script = folder.join("full");
    let lines = "mount -t tmpfs -o size=160k none disk || exit 99\n\
                 (cd disk && \"$@\")\ncode=$?\n\
                 cp -r disk/out out\n\
                 mount -o remount,ro disk || exit 98\n\
                 (cd disk && \"$1\" \"$2\" --resume out) 2> read-only\necho $? >> read-only\n\
                 exit $code\n";
    fs::write(&script, lines)?;
    let before = format!("{} {}", unshare.join(" "), script.display());
    let ended = Ended::of(&mut command(&before, folder, &format!("{GROWS} --out out")))?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(
        ended.err.starts_with("error: ") && ended.err.contains("cannot be written: No space left"),
        "{}",
        ended.err
    );
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    let read_only = fs::read_to_string(folder.join("read-only"))?;
    assert!(
        read_only.starts_with("error: resume out: cannot be written: Read-only file system"),
        "{read_only}"
    );
    assert!(read_only.ends_with(")\n1\n"), "{read_only}");
    goes_on(folder, GROWS)
}
