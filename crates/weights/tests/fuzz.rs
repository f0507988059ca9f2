//! Files broken in every way: the readers refuse or read them, without a panic and within the
//! documented limit of memory.
//!
//! Every run has the same few thousand inputs. This command tests more, and others:
//!
//! ```text
//! PROPTEST_RNG_SEED=7 PROPTEST_CASES=1000000 \
//!     cargo test --release -p recurrent-weights --test fuzz
//! ```

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use recurrent_testkit::cases;
use recurrent_weights::{read_bytes, write, Tensors};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One change of a file; positions are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Flip { at: usize, bit: u8 },
    Put { at: usize, byte: u8 },
    Number { at: usize, bytes: usize, value: u64 },
    Cut { at: usize },
    Remove { at: usize, count: usize },
    Splice { from: usize, count: usize, at: usize },
    Swap { at: usize, with: u8 },
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    let extremes = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(1 << 31),
        Just(1 << 63),
        Just(0xffff),
        any::<u64>()
    ];
    prop_oneof![
        (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Put { at, byte }),
        (at(), prop_oneof![Just(1usize), Just(2), Just(4), Just(8)], extremes)
            .prop_map(|(at, bytes, value)| Change::Number { at, bytes, value }),
        at().prop_map(|at| Change::Cut { at }),
        (at(), 1usize..40).prop_map(|(at, count)| Change::Remove { at, count }),
        (at(), 1usize..200, at()).prop_map(|(from, count, at)| Change::Splice { from, count, at }),
        // Bytes that change the meaning of text: digits, brackets, commas, and operations of a
        // pickle.
        (at(), prop::sample::select(&b"0123456789-,:{}[]()'\"RQtqhjc\x85\x86\x87\x93\x94\x95"[..]))
            .prop_map(|(at, with)| Change::Swap { at, with }),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len().max(1);
        match *change {
            _ if bytes.is_empty() => return bytes,
            Change::Flip { at, bit } => bytes[at % length] ^= 1 << bit,
            Change::Put { at, byte } => bytes[at % length] = byte,
            Change::Number { at, bytes: width, value } => {
                let at = at % length;
                let end = (at + width).min(length);
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            Change::Cut { at } => bytes.truncate(at % length),
            Change::Remove { at, count } => {
                let at = at % length;
                bytes.drain(at..(at + count).min(length));
            }
            Change::Splice { from, count, at } => {
                let from = from % length;
                let piece = bytes[from..(from + count).min(length)].to_vec();
                let at = at % length;
                bytes.splice(at..at, piece);
            }
            Change::Swap { at, with } => {
                // At the next position that holds something of this kind.
                let at = at % length;
                let near = bytes[at..]
                    .iter()
                    .position(|byte| byte.is_ascii_punctuation() || byte.is_ascii_digit());
                bytes[at + near.unwrap_or(0)] = with;
            }
        }
    }
    bytes
}

fn foreign(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/foreign");
    std::fs::read(folder.join(name)).expect("the generator's files are there")
}

/// The members of an archive.
fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a sound archive");
    let count = archive.len();
    let member = |index| {
        let mut member = archive.by_index(index).expect("a sound archive");
        let mut content = Vec::new();
        member.read_to_end(&mut content).expect("a sound archive");
        (member.name().expect("UTF-8").into_owned(), content)
    };
    (0..count).map(member).collect()
}

/// An archive whose checksums are right, whatever its members hold.
fn archive(members: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        writer
            .start_file(name.as_str(), SimpleFileOptions::default().compression_method(method))
            .expect("a name");
        writer.write_all(content).expect("memory");
    }
    writer.finish().expect("memory").into_inner()
}

/// Reads, and checks the memory in use: the tensors, at most their budget, and the reader's own
/// bookkeeping.
fn survives(bytes: &[u8]) -> Result<bool, TestCaseError> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let outcome = read_bytes(bytes);
    let taken = MEMORY.peak_usage() - before;
    let most = 3 * (64 * bytes.len() + (16 << 20));
    prop_assert!(taken <= most, "{taken} bytes for a file of {}", bytes.len());
    Ok(outcome.is_ok())
}

fn safetensors() -> Vec<u8> {
    let path: PathBuf =
        std::env::temp_dir().join(format!("fuzz-{}.safetensors", std::process::id()));
    let tensors: Tensors = read_bytes(&foreign("torch-lstm.pt")).expect("a sound file").tensors;
    write(&path, &tensors, &[("format".to_string(), "pt".to_string())].into())
        .expect("a folder to write in");
    let bytes = std::fs::read(&path).expect("just written");
    std::fs::remove_file(&path).expect("just written");
    bytes
}

/// One test, since the peak of memory is that of the whole process.
#[test]
fn broken_files_are_refused_without_panic_or_waste() {
    let whole = [
        safetensors(),
        foreign("torch-gru.pt"),
        foreign("torch-flattened.pt"),
        foreign("keras-lstm.npz"),
        foreign("keras-gru.npz"),
    ];
    let inside: Vec<_> = whole[1..].iter().map(|bytes| members(bytes)).collect();
    let changes = || prop::collection::vec(change(), 1..4);
    // For an archive, the change is in its bytes, or in those of a member, whose checksum is then
    // corrected.
    let strategy =
        (0..2usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), changes());
    let (tried, read) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = TestRunner::new(cases(3000)).run(&strategy, |(kind, file, member, changes)| {
        let bytes = if kind == 0 {
            changed(file.get(&whole).clone(), &changes)
        } else {
            let mut members = file.get(&inside).clone();
            // Picks the pickle more often than any other member.
            let pickle = members
                .iter()
                .position(|(name, _)| name.ends_with(".pkl"))
                .filter(|_| changes.len() > 1);
            let at = pickle.unwrap_or_else(|| member.index(members.len()));
            members[at].1 = changed(std::mem::take(&mut members[at].1), &changes);
            archive(
                &members,
                if changes.len() == 1 {
                    CompressionMethod::Deflated
                } else {
                    CompressionMethod::Stored
                },
            )
        };
        tried.set(tried.get() + 1);
        read.set(read.get() + usize::from(survives(&bytes)?));
        Ok(())
    });
    outcome.expect("no input panics or takes too much");
    eprintln!("{} inputs, {} of them still files of tensors", tried.get(), read.get());
    // Changes that all break the first checksum would test little.
    assert!(read.get() * 50 > tried.get(), "{} of {}", read.get(), tried.get());
    malicious_files_take_little_memory();
}

/// A pickle of `torch.save` around `body`, whose value is to be a state dict.
fn pickled(body: &[u8]) -> Vec<u8> {
    let members =
        [("a/data.pkl".to_string(), body.to_vec()), ("a/data/0".to_string(), vec![0; 16])];
    archive(&members, CompressionMethod::Stored)
}

fn malicious_files_take_little_memory() {
    let refused = |bytes: &[u8], expected: &str| {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let message = read_bytes(bytes).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
        MEMORY.peak_usage() - before
    };
    // A list that holds itself twice, that one twice, and so on: 2^40 values in 200 bytes.
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for slot in 1..=40u8 {
        laughs.extend([b'h', slot - 1, b'h', slot - 1, 0x86, b'q', slot]);
    }
    laughs.push(b'.');
    let taken = refused(&pickled(&laughs), "levels");
    assert!(taken < 1 << 20, "{taken}");
    // A million nested tuples must not recurse, not even when they are dropped.
    let deep = [&b"\x80\x02)"[..], &[0x85; 1_000_000], b"."].concat();
    refused(&pickled(&deep), "levels");
    // A text with a stated length of 4 GiB and no content.
    let taken = refused(&pickled(b"\x80\x02X\xff\xff\xff\xff."), "it is truncated");
    assert!(taken < 1 << 20, "{taken}");
    // Code.
    refused(
        &pickled(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."),
        "it asks for \"os.system\"",
    );
    refused(
        &pickled(b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."),
        "it asks for \"os.system\"",
    );
    refused(&pickled(b"\x80\x02\x82\x01."), "operation 0x82");
    // A view that repeats 4 numbers 2^40 times, and one that leaves its storage.
    let view = |offset: u8, size: &[u8], stride: u8| {
        let storage =
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ";
        let rebuild = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(";
        let tail =
            [&[b'K', offset][..], b"(", size, b"t", b"(", &[b'K', stride], b"t\x89N", b"tRs."]
                .concat();
        pickled(&[&rebuild[..], storage, &tail].concat())
    };
    assert!(read_bytes(&view(0, b"K\x04", 1)).is_ok());
    let taken = refused(&view(0, b"\x8a\x06\x00\x00\x00\x00\x00\x01", 0), "more than the");
    assert!(taken < 1 << 20, "{taken}");
    refused(&view(1, b"K\x04", 1), "leaves its storage of 4 numbers");
    refused(&view(0, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", 2), "are too many numbers");
    refused(&view(0, b"J\xff\xff\xff\xff", 1), "expected a size, found -1");
    // Zeros that unpack to a thousand times the file.
    let header = b"\x93NUMPY\x01\x00\x4a\x00{'descr': '<f4', 'fortran_order': False, 'shape': \
        (16000000,), }";
    let mut bomb = header.to_vec();
    bomb.resize(10 + 0x4a + 64_000_000, 0);
    bomb[10 + 0x4a - 1] = b'\n';
    let bomb = archive(&[("zeros.npy".to_string(), bomb)], CompressionMethod::Deflated);
    let taken = refused(&bomb, "are more than the");
    assert!(taken < 1 << 20, "{taken}");
    // A safetensors header that states more bytes than the file has.
    let header =
        br#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let lie = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    let taken = refused(&lie, "safetensors: ");
    assert!(taken < 1 << 20, "{taken}");
    refused(&[&u64::MAX.to_le_bytes()[..], header].concat(), "safetensors: ");
}
