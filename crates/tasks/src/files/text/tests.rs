//! Consecutive batches, bits, splits of a text, and errors.

use super::*;
use crate::files::idx::tests::Folder;
use crate::tests::{conforms, key, test_key};
use crate::usage::line;
use anyhow::Result;

/// A text of random words.
fn sample_text(characters: usize) -> String {
    let mut rng = named_rng(1, "made");
    let mut text = String::new();
    while text.len() < characters {
        text.push_str(["the ", "cat ", "sat ", "on ", "a ", "mat.\n"][rng.random_range(0..6)]);
    }
    text
}

#[test]
fn it_conforms() -> Result<()> {
    let task = Text::new(&sample_text(6000), 10)?;
    conforms(&task)?;
    assert_eq!(task.symbols().iter().collect::<String>(), "\n .acehmnost");
    let reference = task.reference().expect("it has one");
    assert!(reference.loss < task.baseline() && reference.name.ends_with("-gram"), "{reference:?}");
    Ok(())
}

/// The characters of a batch, row by row: inputs and targets.
fn characters(task: &Text, key: BatchKey) -> Result<(Vec<String>, Vec<String>)> {
    let batch = task.batch(key, DType::F32, &Device::Cpu)?;
    let text = |row: &Vec<u32>| {
        row.iter().map(|&symbol| task.symbols()[symbol as usize]).collect::<String>()
    };
    let inputs = batch.xs.values().argmax(2)?.to_vec2::<u32>()?;
    Ok((inputs.iter().map(text).collect(), batch.targets.to_vec2()?.iter().map(text).collect()))
}

#[test]
fn batches_continue_the_previous_ones() -> Result<()> {
    let text = sample_text(6000);
    let task = Text::new(&text, 10)?;
    let train = BatchKey { step: 0, ..key(Split::Train) };
    let windows = (text.len() * 90 / 100 / 8 - 10) as u64 / 10;
    for step in 0..2 * windows {
        let key = BatchKey { step, ..train };
        assert_eq!(task.is_stateful(key), step % windows != 0);
        let (inputs, targets) = characters(&task, key)?;
        for (input, target) in inputs.iter().zip(&targets) {
            assert_eq!(input[1..], target[..9]);
            assert!(text.contains(&format!("{input}{}", &target[9..])));
        }
        if task.is_stateful(key) {
            let (_, before) = characters(&task, BatchKey { step: step - 1, ..train })?;
            assert!(inputs.iter().zip(&before).all(|(input, before)| input[..1] == before[9..]));
        }
    }
    Ok(())
}

#[test]
fn an_evaluation_reads_the_test_split_once_and_validation_the_text_before_it() -> Result<()> {
    let text = sample_text(6000);
    let task = Text::new(&text, 10)?;
    let seen = |task: &Text, held_out: usize| -> Result<Vec<String>> {
        let mut strands = vec![String::new(); 10];
        for step in 0..(held_out / 10) as u64 {
            assert_eq!(task.is_stateful(test_key(1, step, 10)), step > 0);
            let (_, targets) = characters(task, test_key(1, step, 10))?;
            strands.iter_mut().zip(targets).for_each(|(strand, target)| strand.push_str(&target));
        }
        assert!(
            !task.is_stateful(test_key(1, (held_out / 10) as u64, 10)),
            "the next pass resets the state"
        );
        Ok(strands)
    };
    let (first, second) = (text.len() * 90 / 100, text.len() * 95 / 100);
    for (task, part) in [
        (task.clone(), &text[second..]),
        (
            Text { test: task.validation.clone(), validation: task.test.clone(), ..task.clone() },
            &text[first..second],
        ),
    ] {
        let strands = seen(&task, task.held_out())?;
        for (row, strand) in strands.iter().enumerate() {
            let start = row * (part.len() / 10) + 1;
            assert_eq!(*strand, part[start..start + strand.len()]);
        }
        assert_eq!(strands.concat().len(), 10 * task.held_out());
    }
    let validation = task.validation_split().expect("it has some");
    assert!(validation.reference() != task.reference());
    Ok(())
}

#[test]
fn losses_are_bits() -> Result<()> {
    let task = Text::new(&sample_text(6000), 10)?;
    let batch = task.batch(test_key(1, 0, 10), DType::F64, &Device::Cpu)?;
    let alike = Tensor::zeros((10, 10, task.output_size()), DType::F64, &Device::Cpu)?;
    let found = task.evaluate(&alike, &batch)?.losses.mean_all()?.to_scalar::<f64>()?;
    assert!((found - (task.output_size() as f64).log2()).abs() < 1e-12);
    assert!(task.baseline() < found);
    Ok(())
}

#[test]
fn a_book_is_the_text_between_the_marks() {
    let book = "\u{feff}Title\n*** START OF THIS EBOOK X ***\n\nChapter 1\nOnce.\n\n*** END OF \
        THIS EBOOK X ***\nLicence";
    assert_eq!(body(book.trim_start_matches('\u{feff}')), "Chapter 1\nOnce.");
    assert_eq!(body("no marks *** START OF x *** END OF"), "no marks *** START OF x *** END OF");
}

#[test]
fn errors_name_the_file() -> Result<()> {
    let folder = Folder::new()?;
    let path = folder.0.join("text");
    let error = |bytes: &[u8], window| -> Result<String> {
        std::fs::write(&path, bytes)?;
        let error = line(&Text::open(&path, window).expect_err("must fail"));
        Ok(error.replace(&path.display().to_string(), "FILE"))
    };
    let short = |found: usize| {
        format!(
            "FILE: expected a text of at least 2200 characters for windows of 10, found {found}"
        )
    };
    assert_eq!(error(b"", 10)?, short(0));
    assert_eq!(error(b"one line", 10)?, short(8));
    assert_eq!(error("ä".repeat(2199).as_bytes(), 10)?, short(2199));
    assert_eq!(
        error(&[b'a'; 3000], 10)?,
        "FILE: expected at least 2 different characters, found 1"
    );
    assert_eq!(error(b"abc\xff", 10)?, "FILE: expected UTF-8, found another byte at offset 3");
    assert_eq!(error(b"abc", 1)?, "FILE: text length: expected 2 to 10000000, got 1");
    let missing = line(&Text::open(Path::new("not/there"), 10).expect_err("must fail"));
    assert_eq!(missing, "data not/there: no such file or folder");
    let task = Text::new(&sample_text(6000), 10)?;
    let key = BatchKey { batch: 1000, ..key(Split::Train) };
    let error = task.batch(key, DType::F32, &Device::Cpu).expect_err("must fail").to_string();
    assert_eq!(error, "text batch: expected 1 to 270 strands with a window each, got 1000");
    Ok(())
}

#[test]
fn a_text_is_encoded_and_continued() -> Result<()> {
    let task = Text::new(&sample_text(6000), 10)?;
    let symbols = task.encode("cat.")?;
    assert_eq!(symbols.iter().map(|&symbol| task.symbols()[symbol]).collect::<String>(), "cat.");
    for (text, expected) in
        [("", "expected at least 1 character, got none"), ("cQ", "'Q' is not in the text")]
    {
        let error = task.encode(text).expect_err(text);
        assert!(error.is_config() && line(&error) == expected, "{error}");
    }
    let input = task.input(&symbols, DType::F32, &Device::Cpu)?;
    let (dims, found) = (input.values().dims(), input.values().argmax(2)?.to_vec2::<u32>()?);
    assert_eq!(dims, [1, 4, task.input_size()]);
    assert!(found[0].iter().map(|&symbol| symbol as usize).eq(symbols));
    assert!(task.input(&[task.input_size()], DType::F32, &Device::Cpu).is_err());

    // At temperature 1 symbols have the probabilities 0.2, 0.5, 0.3.
    let logits = Tensor::new(&[0.2f64.ln(), 0.5f64.ln(), 0.3f64.ln()], &Device::Cpu)?;
    let mut rng = named_rng(1, "sample");
    let mut counts = |temperature: f64| -> Result<[u32; 3]> {
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[Text::sample(&logits, temperature, &mut rng)?] += 1;
        }
        Ok(counts)
    };
    for (count, expected) in counts(1.0)?.into_iter().zip([2000, 5000, 3000]) {
        assert!(u32::abs_diff(count, expected) < 200, "{count}, not about {expected}");
    }
    assert_eq!(counts(0.01)?, [0, 10_000, 0]);
    assert!(Text::sample(&logits.narrow(0, 0, 0)?, 1.0, &mut rng).is_err());
    Ok(())
}
