//! Answers the questions of `benches/peers.py`, which measures this workspace, candle-nn and
//! libraries of Python in turns:
//!
//! ```text
//! LIBRARY FAMILY MODE TIME BATCH INPUT HIDDEN LAYERS SECONDS   on standard input, a line a question
//! ok MILLISECONDS                                              the median time of a run, or
//! error MESSAGE
//! ```
//!
//! The first line is `ready` with a description. After a run that does not count, samples are taken
//! until the seconds have passed, at least one. A sample is one run, or the mean of several if the
//! first took less than a tenth of a millisecond. The number of threads is `RAYON_NUM_THREADS`, or
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
        println!("timing answers benches/peers.py, which asks with --serve; run that");
        Ok(())
    }
}

fn serve() -> Result<()> {
    let (version, threads) = (env!("CARGO_PKG_VERSION"), rayon::current_num_threads());
    say(&format!("ready version={version} threads={threads} vectors={}", vectors()))?;
    for question in stdin().lock().lines() {
        match answer(&question?) {
            Ok(milliseconds) => say(&format!("ok {milliseconds}"))?,
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

fn answer(question: &str) -> Result<f64> {
    let words: Vec<&str> = question.split_whitespace().collect();
    let [library, family, mode, time, batch, input, hidden, layers, seconds] = words[..] else {
        return Err(anyhow!("expected 9 words, got {}", words.len()));
    };
    let size = |text: &str| {
        text.parse::<usize>().with_context(|| format!("expected a size, got {text:?}"))
    };
    let shape = Shape::new(size(time)?, size(batch)?, size(input)?, size(hidden)?);
    let mut subject = Subject::new(
        named::<Library>(library)?,
        named(family)?,
        shape,
        size(layers)?,
        named(mode)?,
    )?;
    let seconds = seconds.parse().with_context(|| format!("expected seconds, got {seconds:?}"))?;
    median_time(&mut subject, seconds)
}

fn named<T: ValueEnum>(word: &str) -> Result<T> {
    T::from_str(word, false).map_err(|error| anyhow!("{word}: {error}"))
}

/// The shortest sample in milliseconds: much longer than reading the clock.
const SAMPLE: f64 = 0.1;

/// The median time of a run in milliseconds.
fn median_time(subject: &mut Subject, seconds: f64) -> Result<f64> {
    let first = sample(subject, 1)?; // warm
    let runs = (SAMPLE / first).ceil().max(1.0) as usize;
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        times.push(sample(subject, runs)?);
    }
    times.sort_by(f64::total_cmp);
    Ok(0.5 * (times[(times.len() - 1) / 2] + times[times.len() / 2]))
}

/// The mean time of `runs` runs.
fn sample(subject: &mut Subject, runs: usize) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..runs {
        subject.step()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / runs as f64)
}

fn one_of_every_kind() -> Result<()> {
    for family in Family::value_variants() {
        for mode in Mode::value_variants() {
            for Shape { time, batch, input, hidden } in shapes() {
                let mode = mode.to_possible_value().context("no mode is skipped")?;
                let sizes = format!("{time} {batch} {input} {hidden} 1 0");
                let milliseconds =
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
    ensure!(
        answer("candle-nn lstm stream 3 2 1 4 1 0").is_err(),
        "candle-nn has no streams on slices"
    );
    ensure!(answer("recurrent lstm").is_err(), "a question has nine words");
    Ok(())
}
