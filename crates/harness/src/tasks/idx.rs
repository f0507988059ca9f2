//! MNIST's files: the IDX format of LeCun, Cortes and Burges.
//!
//! Big-endian u32: a magic number (two zero bytes, 8 for unsigned bytes, the number of axes), the size of each axis;
//! then the bytes.

use anyhow::{anyhow, bail, ensure, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The four files of MNIST, unpacked.
pub(super) const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The number of pixels of an edge of an image.
pub(super) const EDGE: usize = 28;
/// The number of pixels of an image.
pub(super) const PIXELS: usize = EDGE * EDGE;
/// The number of digits.
pub(super) const CLASSES: usize = 10;

/// Images and their labels.
#[derive(Debug)]
pub(super) struct Digits {
    /// 0 is paper and 255 ink, row by row: [`PIXELS`] an image.
    pub(super) pixels: Vec<u8>,
    /// One an image, 0 to 9.
    pub(super) labels: Vec<u8>,
}

impl Digits {
    /// The training images and the test images of a folder.
    pub(super) fn read(folder: &Path) -> Result<[Self; 2]> {
        ensure!(folder.is_dir(), "MNIST: expected a folder, found none at {}", folder.display());
        let [train_images, train_labels, test_images, test_labels] = FILES;
        Ok([Self::pair(folder, train_images, train_labels)?, Self::pair(folder, test_images, test_labels)?])
    }

    fn pair(folder: &Path, images: &str, labels: &str) -> Result<Self> {
        let (images, labels) = (find(folder, images)?, find(folder, labels)?);
        let digits = Self { pixels: read(&images, &[EDGE, EDGE])?, labels: read(&labels, &[])? };
        let (count, found) = (digits.pixels.len() / PIXELS, digits.labels.len());
        if found != count {
            bail!("{}: expected {count} labels, one for each image, found {found}", labels.display())
        }
        if let Some(place) = digits.labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            let label = digits.labels[place];
            bail!("{}: expected labels 0 to 9, found {label} at image {place}", labels.display())
        }
        Ok(digits)
    }
}

/// The file `name` in `folder`, under either of its two spellings.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let dotted = name.replacen("-idx", ".idx", 1);
    let spellings = [name, &dotted];
    if let Some(path) = spellings.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        return Ok(path);
    }
    let packed = spellings.iter().map(|name| format!("{name}.gz")).find(|name| folder.join(name).exists());
    let found = packed.map_or("neither".into(), |packed| format!("{packed}: unpack it with gunzip"));
    bail!("{}: expected {name} or {dotted}, found {found}", folder.display())
}

/// The bytes of an IDX file whose items have the shape `item`; how many there are, the file says itself. Nothing is
/// allocated before the header has been checked against the file's size.
fn read(path: &Path, item: &[usize]) -> Result<Vec<u8>> {
    let failed = |error| anyhow!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let axes = 1 + item.len();
    let header = 4 * (1 + axes) as u64;
    let truncated = |expected: u64| format!("{}: expected {expected} bytes, found {size}", path.display());
    ensure!(size >= header, "{}: too short for the header of an IDX file", truncated(header));

    let mut word = || -> Result<u32> {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let (magic, expected) = (word()?, 0x0800 | axes as u32);
    if magic != expected {
        let gzip = if magic >> 16 == 0x1f8b { ", which is gzip: unpack it with gunzip" } else { "" };
        bail!("{}: expected the IDX magic {expected:#010x}, found {magic:#010x}{gzip}", path.display())
    }
    let count = u64::from(word()?);
    let mut found = Vec::with_capacity(item.len());
    for _ in item {
        found.push(word()? as usize);
    }
    ensure!(found == item, "{}: expected items of shape {item:?}, found {found:?}", path.display());
    ensure!(count > 0, "{}: expected at least 1 item, found 0", path.display());
    let bytes = count * item.iter().product::<usize>() as u64; // at most 2^32 · 784
    ensure!(size == header + bytes, "{}: its header says {count} items", truncated(header + bytes));

    let mut values = Vec::with_capacity(bytes as usize);
    file.take(bytes).read_to_end(&mut values).map_err(failed)?;
    ensure!(values.len() as u64 == bytes, "{}: it became shorter while it was read", path.display());
    Ok(values)
}

/// Folders of tiny MNISTs, and what is wrong with spoilt ones.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A folder that is removed in the end.
    pub(in crate::tasks) struct Folder(pub(in crate::tasks) PathBuf);

    impl Folder {
        pub(in crate::tasks) fn new() -> Result<Self> {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("recurrent-idx-{}-{number}", std::process::id()));
            fs::create_dir(&path)?;
            Ok(Self(path))
        }

        /// A folder with a tiny MNIST: label i % 10 for image i, whose pixel p is (i + p) % 256 in the training
        /// images and (i + 2 p) % 256 in the test images.
        pub(in crate::tasks) fn mnist(train: usize, test: usize) -> Result<Self> {
            let folder = Self::new()?;
            for (files, stride, count) in [(&FILES[..2], 1, train), (&FILES[2..], 2, test)] {
                let pixels = |image| (0..PIXELS).map(move |place| ((image + stride * place) % 256) as u8);
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
            let error = format!("{:#}", Digits::read(&self.0).expect_err("must fail")); // with all its causes
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
        let [train, test] = Digits::read(&folder.0)?;
        assert_eq!((train.pixels.len(), test.pixels.len()), (12 * 784, 3 * 784));
        assert_eq!(train.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!((train.pixels[784], train.pixels[784 + 255], test.pixels[1]), (1, 0, 2));
        Ok(())
    }

    #[test]
    fn missing_files_are_named_with_both_spellings() -> Result<()> {
        let folder = Folder::mnist(2, 2)?;
        let path = folder.0.join(FILES[1]);
        fs::rename(&path, path.with_extension("gz"))?;
        let expected = "DIR: expected train-labels-idx1-ubyte or train-labels.idx1-ubyte, found ";
        assert_eq!(folder.error(), format!("{expected}train-labels-idx1-ubyte.gz: unpack it with gunzip"));
        fs::remove_file(path.with_extension("gz"))?;
        assert_eq!(folder.error(), format!("{expected}neither"));
        fs::remove_dir_all(&folder.0)?;
        assert_eq!(folder.error(), "MNIST: expected a folder, found none at DIR");
        Ok(())
    }

    /// Which file, its magic, shape and bytes, and what is wrong.
    type Spoilt<'a> = (usize, u32, &'a [usize], &'a [u8], &'a str);

    #[test]
    fn a_spoilt_file_is_named_with_what_is_wrong() -> Result<()> {
        let image = [7; 784];
        let cases: [Spoilt; 9] = [
            (0, 0x0801, &[1, 28, 28], &image, "expected the IDX magic 0x00000803, found 0x00000801"),
            (
                0,
                0x1f8b_0808,
                &[1, 28, 28],
                &image,
                "expected the IDX magic 0x00000803, found 0x1f8b0808, which is gzip: unpack it with gunzip",
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
            (0, 0x0803, &[1, 28, 28], &image[1..], "expected 800 bytes, found 799: its header says 1 items"),
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
        let expected = "DIR/train-labels-idx1-ubyte: expected 2 labels, one for each image, found 3";
        assert_eq!(folder.error(), expected);
        fs::write(folder.0.join(FILES[0]), [0, 0])?;
        let expected = "expected 16 bytes, found 2: too short for the header of an IDX file";
        assert_eq!(folder.error(), format!("DIR/train-images-idx3-ubyte: {expected}"));
        Ok(())
    }
}
