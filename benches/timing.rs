//! Answers the questions of `benches/pytorch.py`, which measures this workspace, candle-nn and
//! PyTorch in turns:
//!
//! ```text
//! LIBRARY FAMILY MODE TIME BATCH INPUT HIDDEN LAYERS SECONDS   on standard input, a line a question
//! ok MILLISECONDS RUNS                                         the median of RUNS runs, or
//! error MESSAGE
//! ```
//!
//! The first line is `ready` with a description. After a first run that does not count, runs repeat
//! until the seconds have passed, at least one. The number of threads is `RAYON_NUM_THREADS`, or
//! one.

mod subject;

use anyhow::{anyhow, ensure, Context, Result};
use clap::{Parser, ValueEnum};
use std::io::{stdin, stdout, BufRead, Write};
use std::time::Instant;
use subject::{in_pool, shapes, Family, Library, Mode, Shape, Subject};

/// Times single cases from standard input.
#[derive(Parser)]
struct Options {
    /// Answer questions
    #[arg(long)]
    serve: bool,
    /// One question of every kind, with three steps, as a smoke test
    #[arg(long)]
    test: bool,
    #[arg(long, hide = true)] // from cargo
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.serve {
        in_pool(serve)
    } else if options.test {
        in_pool(one_of_every_kind)
    } else {
        println!("timing answers benches/pytorch.py, which asks with --serve; run that");
        Ok(())
    }
}

fn serve() -> Result<()> {
    let (version, threads) = (env!("CARGO_PKG_VERSION"), rayon::current_num_threads());
    say(&format!("ready version={version} threads={threads} vectors={}", vectors()))?;
    for question in stdin().lock().lines() {
        match answer(&question?) {
            Ok((milliseconds, runs)) => say(&format!("ok {milliseconds} {runs}"))?,
            Err(error) => say(&format!("error {}", first_line(&format!("{error:#}"))))?,
        }
    }
    Ok(())
}

/// The first line of an error; candle may append a backtrace.
fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The widest vectors of the kernels on this processor.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    "baseline"
}

fn answer(question: &str) -> Result<(f64, usize)> {
    let words: Vec<&str> = question.split_whitespace().collect();
    let [library, family, mode, time, batch, input, hidden, layers, seconds] = words[..] else {
        return Err(anyhow!("expected 9 words, got {}", words.len()));
    };
    let size = |text: &str| {
        text.parse::<usize>().with_context(|| format!("expected a size, got {text:?}"))
    };
    let shape = Shape::new(size(time)?, size(batch)?, size(input)?, size(hidden)?);
    let subject = Subject::new(
        named::<Library>(library)?,
        named(family)?,
        shape,
        size(layers)?,
        named(mode)?,
    )?;
    let seconds = seconds.parse().with_context(|| format!("expected seconds, got {seconds:?}"))?;
    median_time(&subject, seconds)
}

fn named<T: ValueEnum>(word: &str) -> Result<T> {
    T::from_str(word, false).map_err(|error| anyhow!("{word}: {error}"))
}

/// The median time in milliseconds, and the number of runs.
fn median_time(subject: &Subject, seconds: f64) -> Result<(f64, usize)> {
    subject.step()?; // warm
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        subject.step()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let (below, above) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
    Ok((0.5 * (below + above), times.len()))
}

fn one_of_every_kind() -> Result<()> {
    for family in Family::value_variants() {
        for mode in Mode::value_variants() {
            for Shape { time, batch, input, hidden } in shapes() {
                let mode = mode.to_possible_value().context("no mode is skipped")?;
                let sizes = format!("{time} {batch} {input} {hidden} 1 0");
                let (milliseconds, _) =
                    answer(&format!("recurrent {family} {} {sizes}", mode.get_name()))?;
                ensure!(milliseconds > 0.0, "{family} {sizes} took no time");
            }
        }
    }
    answer("candle-nn lstm train 3 2 1 4 1 0")?;
    ensure!(
        answer("candle-nn vanilla train 3 2 1 4 1 0").is_err(),
        "candle-nn has no vanilla layer"
    );
    ensure!(answer("recurrent lstm").is_err(), "a question has nine words");
    Ok(())
}
