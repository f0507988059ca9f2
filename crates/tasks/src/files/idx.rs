//! Images and labels in the IDX format of LeCun, Cortes and Burges, the format of MNIST and
//! Fashion-MNIST.
//!
//! A file starts with big-endian u32: a magic number (two zero bytes, 8 for unsigned bytes, the
//! number of axes) and the size of each axis. The bytes follow. Files may be compressed with gzip.

use super::input::data_at;
use crate::error::{bail, ensure, Error, Result};
use crate::usage::bail_config;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// The names of the four files of MNIST, without compression.
pub(crate) const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The width and height of an image, in pixels.
pub(super) const EDGE: usize = 28;
/// The number of pixels of an image.
pub(super) const PIXELS: usize = EDGE * EDGE;
/// The number of classes.
pub(super) const CLASSES: usize = 10;

/// Images of 28 by 28 pixels, and their labels.
#[derive(Clone, Debug)]
pub struct Images {
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Vec<u8>,
}

impl Images {
    /// Images from their pixels and labels. Every image has 784 pixels, row by row, from 0 for
    /// paper to 255 for ink, and one label from 0 to 9.
    ///
    /// # Errors
    /// If there is no image; if the number of pixels is not a multiple of 784; if the number of
    /// labels differs from the number of images; if a label is not 0 to 9.
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self> {
        let (count, rest) = (pixels.len() / PIXELS, pixels.len() % PIXELS);
        ensure!(
            count > 0 && rest == 0,
            "expected {PIXELS} pixels an image, found {} pixels",
            pixels.len()
        );
        ensure!(
            labels.len() == count,
            "expected {count} labels, one for each image, found {}",
            labels.len()
        );
        if let Some(place) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            bail!("expected labels 0 to 9, found {} at image {place}", labels[place])
        }
        Ok(Self { pixels, labels })
    }

    /// The training images and the test images of a folder.
    pub(super) fn read(folder: &Path) -> Result<[Self; 2]> {
        if !data_at(folder)?.is_dir() {
            bail_config!("data {}: expected a folder of IDX files, found a file", folder.display());
        }
        let [train_images, train_labels, test_images, test_labels] = FILES;
        Ok([
            Self::pair(folder, train_images, train_labels)?,
            Self::pair(folder, test_images, test_labels)?,
        ])
    }

    fn pair(folder: &Path, images: &str, labels: &str) -> Result<Self> {
        let (images, labels) = (find(folder, images)?, find(folder, labels)?);
        let (pixels, values) = (read(&images, &[EDGE, EDGE])?, read(&labels, &[])?);
        Self::new(pixels, values)
            .map_err(|error| Error::data(format!("{}: {error}", labels.display())))
    }
}

/// Finds the file `name` in `folder`, in either of its two spellings, compressed or not.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let dotted = name.replacen("-idx", ".idx", 1);
    let spellings =
        [name.to_string(), dotted.clone(), format!("{name}.gz"), format!("{dotted}.gz")];
    match spellings.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => {
            bail!(
                "{}: expected {name} or {dotted}, or one of them with .gz, found none",
                folder.display()
            )
        }
    }
}

/// Reads the bytes of an IDX file whose items have the shape `item`. The header contains the number
/// of items. It is checked against the size of the file before the allocation; a compressed file is
/// checked while it is decompressed.
fn read(path: &Path, item: &[usize]) -> Result<Vec<u8>> {
    let failed = |error| Error::data(format!("{}: {error}", path.display()));
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let packed = start == [0x1f, 0x8b];
    let size = match packed {
        true => None,
        false => Some(file.get_ref().metadata().map_err(failed)?.len()),
    };
    let mut bytes: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

    let axes = 1 + item.len();
    let mut header = Vec::new();
    let length = 4 * (1 + axes) as u64;
    let unpacked = if packed { " once decompressed" } else { "" };
    let truncated = |expected: u64, found: u64| {
        format!("{}: expected {expected} bytes{unpacked}, found {found}", path.display())
    };
    let damaged = |expected: u64, found: u64, error: std::io::Error| {
        Error::data(format!(
            "{} before the file is truncated or damaged ({error})",
            truncated(expected, found)
        ))
    };
    let ended = bytes.by_ref().take(length).read_to_end(&mut header);
    ended.map_err(|error| damaged(length, header.len() as u64, error))?;
    let found = header.len() as u64;
    ensure!(
        found == length,
        "{}: too short for the header of an IDX file",
        truncated(length, found)
    );

    let words: Vec<u32> = header
        .chunks_exact(4)
        .map(|word| word.iter().fold(0, |all, &byte| all << 8 | u32::from(byte)))
        .collect();
    let (magic, expected) = (words[0], 0x0800 | axes as u32);
    if magic != expected {
        bail!(
            "{}: expected the IDX magic {expected:#010x} at offset 0, found {magic:#010x}",
            path.display()
        )
    }
    let (count, found) = (u64::from(words[1]), words[2..].iter().map(|&size| size as usize));
    let found: Vec<_> = found.collect();
    ensure!(found == item, "{}: expected items of shape {item:?}, found {found:?}", path.display());
    ensure!(count > 0, "{}: expected at least 1 item, found 0", path.display());
    let expected = count * item.iter().product::<usize>() as u64; // at most 2^32 · 784
    let says = format!("its header says {count} items");
    if let Some(size) = size {
        ensure!(size == length + expected, "{}: {says}", truncated(length + expected, size));
    }

    let mut values = Vec::with_capacity(size.map_or(0, |_| expected as usize));
    let ended = bytes.take(expected + 1).read_to_end(&mut values);
    ended.map_err(|error| damaged(length + expected, length + values.len() as u64, error))?;
    let found = values.len() as u64;
    ensure!(found <= expected, "{} or more: {says}", truncated(length + expected, length + found));
    ensure!(found == expected, "{}: {says}", truncated(length + expected, length + found));
    Ok(values)
}

/// Folders with a tiny MNIST, and damaged files.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use anyhow::Result;
    use std::fs;
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A temporary folder, removed on drop.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Result<Self> {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("recurrent-idx-{}-{number}", std::process::id()));
            fs::create_dir(&path)?;
            Ok(Self(path))
        }

        /// A folder with a tiny MNIST. Image i has label i % 10. Its pixel p is (i + p) % 256 in
        /// the training set and (i + 2 p) % 256 in the test set.
        pub(crate) fn mnist(train: usize, test: usize) -> Result<Self> {
            let folder = Self::new()?;
            for (files, stride, count) in [(&FILES[..2], 1, train), (&FILES[2..], 2, test)] {
                let pixels =
                    |image| (0..PIXELS).map(move |place| ((image + stride * place) % 256) as u8);
                let pixels: Vec<_> = (0..count).flat_map(pixels).collect();
                let labels: Vec<_> = (0..count).map(|image| (image % 10) as u8).collect();
                folder.write(files[0], 0x0803, &[count, 28, 28], &pixels)?;
                folder.write(files[1], 0x0801, &[count], &labels)?;
            }
            Ok(folder)
        }

        fn write(&self, name: &str, magic: u32, shape: &[usize], values: &[u8]) -> Result<()> {
            let mut bytes = magic.to_be_bytes().to_vec();
            shape.iter().for_each(|&size| bytes.extend((size as u32).to_be_bytes()));
            bytes.extend(values);
            Ok(fs::write(self.0.join(name), bytes)?)
        }

        fn error(&self) -> String {
            // with all its causes
            let error = format!("{:#}", Images::read(&self.0).expect_err("must fail"));
            error.replace(&self.0.display().to_string(), "DIR")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_spellings_are_read() -> Result<()> {
        let folder = Folder::mnist(12, 3)?;
        for name in [FILES[0], FILES[3]] {
            fs::rename(folder.0.join(name), folder.0.join(name.replace("-idx", ".idx")))?;
        }
        let [train, test] = Images::read(&folder.0)?;
        assert_eq!((train.pixels.len(), test.pixels.len()), (12 * 784, 3 * 784));
        assert_eq!(train.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!((train.pixels[784], train.pixels[784 + 255], test.pixels[1]), (1, 0, 2));
        Ok(())
    }

    #[test]
    fn errors_name_missing_files_in_both_spellings() -> Result<()> {
        let folder = Folder::mnist(2, 2)?;
        fs::remove_file(folder.0.join(FILES[1]))?;
        assert_eq!(
            folder.error(),
            "DIR: expected train-labels-idx1-ubyte or train-labels.idx1-ubyte, or one of them with \
             .gz, found none"
        );
        fs::remove_dir_all(&folder.0)?;
        assert_eq!(folder.error(), "data DIR: no such file or folder");
        Ok(())
    }

    /// A file, its magic, shape and bytes, and the expected error.
    type Damaged<'a> = (usize, u32, &'a [usize], &'a [u8], &'a str);

    #[test]
    fn errors_name_the_damaged_file() -> Result<()> {
        let image = [7; 784];
        let cases: [Damaged; 8] = [
            (
                0,
                0x0801,
                &[1, 28, 28],
                &image,
                "expected the IDX magic 0x00000803 at offset 0, found 0x00000801",
            ),
            (
                0,
                0x0803,
                &[1, 28],
                &[],
                "expected 16 bytes, found 12: too short for the header of an IDX file",
            ),
            (0, 0x0803, &[1, 28, 27], &image, "expected items of shape [28, 28], found [28, 27]"),
            (0, 0x0803, &[0, 28, 28], &[], "expected at least 1 item, found 0"),
            (
                0,
                0x0803,
                &[1, 28, 28],
                &image[1..],
                "expected 800 bytes, found 799: its header says 1 items",
            ),
            (
                2,
                0x0803,
                &[0xffff_ffff, 28, 28],
                &image,
                "expected 3367254359296 bytes, found 800: its header says 4294967295 items",
            ),
            (1, 0x0801, &[2], &[1, 2, 3], "expected 10 bytes, found 11: its header says 2 items"),
            (3, 0x0801, &[2], &[9, 10], "expected labels 0 to 9, found 10 at image 1"),
        ];
        for (file, magic, shape, values, expected) in cases {
            let folder = Folder::mnist(2, 2)?;
            folder.write(FILES[file], magic, shape, values)?;
            assert_eq!(folder.error(), format!("DIR/{}: {expected}", FILES[file]));
        }
        let folder = Folder::mnist(2, 2)?;
        folder.write(FILES[1], 0x0801, &[3], &[1, 2, 3])?;
        let expected =
            "DIR/train-labels-idx1-ubyte: expected 2 labels, one for each image, found 3";
        assert_eq!(folder.error(), expected);
        fs::write(folder.0.join(FILES[0]), [0, 0])?;
        let expected = "expected 16 bytes, found 2: too short for the header of an IDX file";
        assert_eq!(folder.error(), format!("DIR/train-images-idx3-ubyte: {expected}"));
        Ok(())
    }

    /// The bytes, compressed with gzip.
    fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes)?;
        Ok(packer.finish()?)
    }

    #[test]
    fn compressed_files_are_read_and_damaged_ones_named() -> Result<()> {
        let (plain, folder) = (Folder::mnist(12, 3)?, Folder::mnist(12, 3)?);
        for name in FILES {
            let bytes = packed(&fs::read(folder.0.join(name))?)?;
            fs::remove_file(folder.0.join(name))?;
            fs::write(folder.0.join(format!("{name}.gz")), bytes)?;
        }
        for (packed, plain) in Images::read(&folder.0)?.iter().zip(Images::read(&plain.0)?) {
            assert!(packed.pixels == plain.pixels && packed.labels == plain.labels);
        }
        let (name, image) = (format!("{}.gz", FILES[0]), fs::read(plain.0.join(FILES[0]))?);
        let damage = |bytes: &[u8]| -> Result<String> {
            fs::write(folder.0.join(&name), bytes)?;
            Ok(folder.error().replace(&format!("DIR/{name}: "), ""))
        };
        let whole = image.len();
        assert_eq!(
            damage(&packed(&image[..whole - 5])?)?,
            format!(
                "expected {whole} bytes once decompressed, found {}: its header says 12 items",
                whole - 5
            )
        );
        assert_eq!(
            damage(&packed(&[&image[..], &[1, 2, 3]].concat())?)?,
            format!(
                "expected {whole} bytes once decompressed, found {} or more: its header says 12 \
                 items",
                whole + 1
            )
        );
        let huge = [&image[..4], &[255; 4], &image[8..]].concat();
        assert!(damage(&packed(&huge)?)?.ends_with("its header says 4294967295 items"));
        assert!(damage(&packed(&image[1..])?)?
            .starts_with("expected the IDX magic 0x00000803 at offset 0, found"));
        let cut = packed(&image)?;
        let error = damage(&cut[..cut.len() / 2])?;
        assert_eq!(error.lines().count(), 1, "{error}");
        let start = format!("expected {whole} bytes once decompressed, found ");
        assert!(
            error.starts_with(&start)
                && error.contains(" before the file is truncated or damaged ("),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn arrays_are_checked_as_files_are() {
        let error = |pixels: usize, labels: &[u8]| {
            Images::new(vec![0; pixels], labels.to_vec()).expect_err("must fail").to_string()
        };
        assert_eq!(error(785, &[1]), "expected 784 pixels an image, found 785 pixels");
        assert_eq!(error(0, &[]), "expected 784 pixels an image, found 0 pixels");
        assert_eq!(error(784, &[]), "expected 1 labels, one for each image, found 0");
        assert_eq!(error(784, &[10]), "expected labels 0 to 9, found 10 at image 0");
    }
}
