//! The example `char_lm`: text from a trained network.

use super::program::{char_lm, compare, segment};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A text of words in an order that does not repeat.
fn book(path: &Path) -> Result<()> {
    let words = ["the", "train", "ran", "past", "seven", "towers"];
    let word = |index: u64| words[(index * index * 7 + index / 5) as usize % words.len()];
    Ok(fs::write(path, (0..6000).map(|index| format!("{} ", word(index))).collect::<String>())?)
}

#[test]
fn a_run_continues_a_text_by_temperature_and_seed() -> Result<()> {
    let temp = tempfile::tempdir()?;
    book(&temp.path().join("book"))?;
    let trained = compare(
        temp.path(),
        "--task text --data book --length 20 --variants gru --seeds 1 --epochs 2 --hidden 24 \
         --quiet --out out",
    )?;
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    let write = |more: &str| -> Result<String> {
        let args = format!("--data book --run out/runs/gru-0 --prompt train --length 200 {more}");
        Ok(char_lm(temp.path(), &args)?.well())
    };
    let text = write("--temperature 0.3")?;
    assert!(
        text.starts_with("train") && text.trim_end_matches('\n').chars().count() == 205,
        "{text}"
    );
    assert_eq!(text, write("--temperature 0.3")?);
    assert_ne!(text, write("--temperature 0.3 --seed 1")?);

    // At a low temperature it writes words, at a high one mostly single letters.
    let known: BTreeSet<&str> = "the train ran past seven towers".split(' ').collect();
    let right = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        words.iter().filter(|word| known.contains(*word)).count() as f64 / words.len() as f64
    };
    let hot = write("--temperature 100")?;
    assert!(right(&text) > 0.8 && right(&hot) < 0.3, "{text}\n{hot}");

    // A different text with the same letters, each as often, is refused.
    let (path, other) = (temp.path().join("book"), temp.path().join("other"));
    let text = fs::read_to_string(path)?;
    fs::write(other, text.chars().rev().collect::<String>())?;
    let ended = char_lm(temp.path(), "--data other --run out/runs/gru-0")?;
    let expected = "error: out/runs/gru-0: expected the data of this run, found other data\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), expected));
    let ended = compare(temp.path(), "--resume out --data other")?;
    let expected = "error: resume out: expected --data book as at its start, got other\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(2), expected));
    // The same path with other data.
    fs::copy(temp.path().join("other"), temp.path().join("book"))?;
    let ended = compare(temp.path(), "--resume out")?;
    assert!(ended.code == Some(2) && ended.err.contains("task.data: "), "{}", ended.err);
    Ok(())
}

#[test]
fn it_trains_by_itself_and_refuses_wrong_input() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    book(&folder.join("book"))?;
    let ended = char_lm(folder, "--data book --epochs 1 --length 50 --save gru")?;
    assert_eq!((ended.code, ended.out.chars().count()), (Some(0), 52), "{}", ended.err);
    let lines: Vec<_> = ended.err.lines().collect();
    let [first, steps @ .., held_out, saved] = &lines[..] else { panic!("{lines:?}") };
    assert!(first.starts_with("training a GRU of "), "{first}");
    assert!(steps.iter().all(|line| line.starts_with("step ")), "{steps:?}");
    assert!(held_out.starts_with("held-out text: "), "{held_out}");
    assert_eq!(*saved, "saved for --run gru");
    let again = char_lm(folder, "--data book --length 50 --run gru")?.well();
    assert_eq!(again, ended.out);

    let run = "--task adding --length 10 --variants gru --seeds 1 --steps 2 --quiet --out adding";
    compare(folder, run)?;
    for (args, code, expected) in [
        ("--temperature 0", 2, "temperature: expected a positive number, got 0"),
        ("--temperature inf", 2, "temperature: expected a positive number, got inf"),
        ("--prompt tQ", 2, "prompt: 'Q' is not in the text"),
        ("--prompt ''", 2, "prompt: expected at least 1 character, got none"),
        (
            "--run adding/runs/gru-0",
            1,
            "adding/runs/gru-0: expected a run of the task text, found adding",
        ),
    ] {
        let ended = char_lm(folder, &format!("--data book {args}"))?;
        assert_eq!((ended.code, ended.err), (Some(code), format!("error: {expected}\n")), "{args}");
    }
    let ended = char_lm(folder, "--data book --run nowhere")?;
    assert!(
        ended.code == Some(1) && ended.err.starts_with("error: nowhere/run.json: "),
        "{}",
        ended.err
    );
    Ok(())
}

#[test]
fn segment_refuses_wrong_input_in_one_line() -> Result<()> {
    let temp = tempfile::tempdir()?;
    for (args, code, expected) in [
        ("nowhere.safetensors", 1, "error: nowhere.safetensors: "),
        ("", 2, "error: the following required arguments were not provided: <WEIGHTS>"),
    ] {
        let ended = segment(temp.path(), args)?;
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{args}: {}", ended.err);
        assert!(
            ended.err.starts_with(expected) && ended.err.lines().count() == 1,
            "{args}: {}",
            ended.err
        );
    }
    Ok(())
}
