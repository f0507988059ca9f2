//! Wrong input: one clear line, the right exit code, nothing half-written.

use crate::digits::digits;
use crate::program::{compare, tree, CUDA, METAL};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;

/// Exit code, options => the line after `error: `. A line that ends with ... may continue. The
/// folders are those of the test.
const CASES: &str = "
names
2 --task ading => task ading: no such task; the nearest is adding, all are adding, adding-tcn, ...
2 --task mnist-row --data digits => task mnist-row: no such task; the nearest is mnist-rows, all
    are ...
2 --variants lstm-crono => variant lstm-crono: no such variant; the nearest is lstm-chrono, --list
    shows all
2 --variants vanilla,GRU => variant GRU: no such variant; the nearest is gru, --list shows all
2 --variants vanilla, => variants: expected names with commas between them, found an empty one
2 --variants gru,gru => variant gru: expected once, got twice
2 --variants lstm-crono+clip => variant lstm-crono: no such variant; the nearest is lstm-chrono,
    --list shows all
2 --variants lstm+chorno => modifier chorno: no such modifier; the nearest is chrono, `recurrent
    list --modifiers` shows all
2 --variants lstm+quantise => modifier quantise: no such modifier; `recurrent list --modifiers`
    shows all
2 --variants lstm+clip=1+chrono+clip=2 => modifier clip=2 on lstm: clip=1 is the same modifier
2 --variants lstm+bias.f=1+bias.i=1+bias.f=2 => modifier bias.f=2 on lstm: bias.f=1 is the same
    modifier
2 --variants lstm+clip=fast => modifier clip: expected a positive number, got ...
2 --variants lstm+clip,lstm+clip => variant lstm+clip: expected once, got twice
2 --variants vanilla+chrono => modifier chrono on vanilla: init forget_bias: this cell has no gate
    that keeps the old state
2 --dtype f16 => dtype f16: expected f32 or f64
2 --device tpu => device tpu: no such device; there are cpu, cuda, cuda:N and metal
2 --device cuda:one => device cuda:one: expected cuda or cuda:N with a number N

files of data
2 --task mnist-rows => task mnist-rows: it needs --data DIR, a folder with
    train-images-idx3-ubyte, ...
2 --task mnist-rows --data nowhere => data nowhere: no such file or folder
2 --task mnist-rows --data file => data file: expected a folder of IDX files, found a file
2 --task text --data nowhere => data nowhere: no such file or folder
2 --task text --data empty => data empty: expected a file, found a folder
2 --task forecast --data nowhere => data nowhere: no such file or folder
2 --task forecast --data empty => data empty: expected a file, found a folder
2 --task series --data nowhere => data nowhere: no such file or folder
1 --task mnist-rows --data empty => empty: expected train-images-idx3-ubyte or
    train-images.idx3-ubyte, ...
1 --task mnist-pixels --data missing => missing: expected train-labels-idx1-ubyte or
    train-labels.idx1-ubyte, ...
1 --task mnist-rows --data cut => cut/t10k-images-idx3-ubyte: expected 94096 bytes, found 50000:
    its header says 120 items
2 --task text => task text: it needs --data FILE, a text
1 --task text --data file => file: expected a text of at least 20200 characters for windows of
    100, found 4
1 --task forecast --data file => file: expected at least 106 rows for windows of 48 and a season
    of 1, found 0
2 --task series --data file => data file: expected a folder or a file NAME_TRAIN.ts
1 --task series --data empty => empty: expected a file NAME_TRAIN.ts, found none
2 --season 3 => task adding: only forecast has a column and a season; leave --column and --season
    out
2 --validate => validate: the task adding is generated and has no test set to spare
2 --task mnist1d --generalise => generalise: the task mnist1d has no longer sequences
1 --task mnist-rows --data headless => headless/train-images-idx3-ubyte: expected 16 bytes, found
    10: too short ...
2 --data digits => task adding: it is generated and does not read files; leave --data out

lengths
2 --length 1 => adding length: expected 2 to 10000000, got 1
2 --task copy --length 0 => copy length: expected 1 to 10000000, got 0
2 --task temporal-order --length 9 => temporal-order length: expected 10 to 10000000, got 9
2 --length 99999999999 => adding length: expected 2 to 10000000, got 99999999999
2 --length -5 => unexpected argument '-5' found
2 --task mnist-rows --data digits --length 28 => task mnist-rows: its length is fixed at 28; leave
    --length out

counts
2 --seeds 0 => seeds: expected 1 to 1000000, got 0
2 --seeds 18446744073709551615 => seeds: expected 1 to 1000000, got 18446744073709551615
2 --seed-offset 18446744073709551615 => seed-offset: expected less than 2^64 minus the number of
    seeds, got ...
2 --seeds three => seeds: expected a whole number, got three
2 --seeds -1 => ...
2 --steps 0 => steps: expected at least 1, got 0
2 --task mnist-rows --data digits --epochs 0 => epochs: expected at least 1, got 0
2 --epochs 1 => epochs: the task adding is generated and has no epochs; use steps instead
2 --hidden 0 => hidden: expected 1 to 8192 units, got 0
2 --hidden 1000000 => hidden: expected 1 to 8192 units, got 1000000
2 --params 0 => params: expected at least 7, which vanilla has with one hidden unit, got 0
2 --params 99999999999999 => params: expected at most ...
2 --batch 0 => batch: expected at least 1, got 0
2 --batch 100000000000 => batch: expected at most 10000000 examples of 100 steps, got 100000000000
2 --jobs 0 => jobs: expected 1 to 1024, got 0

rates
2 --lr NaN => lr: expected a positive number, got NaN
2 --lr -0.1 => lr: expected a positive number, got -0.1
2 --lr 0 => lr: expected a positive number, got 0
2 --lr inf => lr: expected a positive number, got inf
2 --lr fast => lr: expected a number, got fast
2 --clip NaN => clip: expected a positive number, or inf for no bound, got NaN
2 --clip -1 => clip: expected a positive number, or inf for no bound, got -1
2 --clip 0 => clip: expected a positive number, or inf for no bound, got 0

options that exclude each other, and what is none
2 --steps 3 --epochs 1 => the argument '--steps <N>' cannot be used with '--epochs <N>'
2 --hidden 3 --params 99 => the argument '--hidden <N>' cannot be used with '--params <N>'
2 --variant gru => unexpected argument '--variant' found; tip: a similar argument exists:
    '--variants'
2 gru => unexpected argument 'gru' found

the output folder
2 --out full => out full: the folder is not empty, and nothing is overwritten
2 --out file => out file: expected a folder, found a file
1 --out file/below => out file/below: cannot be made: ...
2 --out '' => a value is required for '--out <DIR>' but none was supplied
2 --out empty --seeds 0 => seeds: expected 1 to 1000000, got 0
2 --out empty --task mnist-rows --data nowhere => data nowhere: no such file or folder
";

/// Asserts that a command line is refused as described by a line of [`CASES`]: nothing on the
/// standard output, exactly that line on the standard error, and all files and folders unchanged.
fn refused(folder: &Path, case: &str) -> Result<()> {
    let (asked, line) = case.split_once(" => ").with_context(|| case.to_string())?;
    let (code, args) = asked.split_once(' ').with_context(|| case.to_string())?;
    let before = tree(folder)?;
    let out = if args.contains("--out") { "" } else { "--out new/out" };
    let ended = compare(folder, &format!("{args} {out}"))?;
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(code.parse()?), ""),
        "{case}: {}",
        ended.err
    );
    let line = format!("error: {line}\n");
    match line.strip_suffix("...\n") {
        None => assert_eq!(ended.err, line, "{case}"),
        Some(start) => {
            assert!(ended.err.starts_with(start), "{case}: {}", ended.err);
            assert!(
                ended.err.lines().count() == 1 && ended.err.ends_with('\n'),
                "{case}: {}",
                ended.err
            );
        }
    }
    assert!(tree(folder)? == before, "{case}: something was left behind");
    Ok(())
}

#[test]
fn wrong_input_is_refused_in_one_line_and_leaves_nothing() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = temp.path();
    fs::create_dir(folder.join("empty"))?;
    fs::create_dir(folder.join("full"))?;
    fs::write(folder.join("full/notes"), "mine")?;
    fs::write(folder.join("file"), "mine")?;
    digits(folder, "digits")?;
    fs::remove_file(digits(folder, "missing")?.join("train-labels-idx1-ubyte"))?;
    for (name, file, length) in
        [("cut", "t10k-images-idx3-ubyte", 50_000), ("headless", "train-images-idx3-ubyte", 10)]
    {
        let path = digits(folder, name)?.join(file);
        File::options().write(true).open(path)?.set_len(length)?;
    }

    let cases = CASES.replace("\n    ", " ");
    let cases: Vec<_> = cases.lines().filter(|line| line.contains(" => ")).collect();
    assert!(cases.len() > 50, "{} cases were found", cases.len());
    for case in cases {
        refused(folder, case)?;
    }
    refused(
        folder,
        match CUDA {
            false => {
                "2 --device cuda:99 => device cuda:99: this build has no CUDA: build with \
                 --features cuda"
            }
            true => "1 --device cuda:99 => device cuda:99 is not there...",
        },
    )?;
    if !METAL {
        refused(
            folder,
            "2 --device metal => device metal: this build has no Metal: build with --features metal",
        )?;
    }
    // Longer than a name in a file system may be, in a folder that would be created first.
    let long = "x".repeat(300);
    refused(folder, &format!("1 --out new/{long} => out new/{long}: cannot be made: ..."))
}
