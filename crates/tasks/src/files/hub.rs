//! MNIST and Fashion-MNIST from the Hugging Face Hub: two parquet files. Every row contains an
//! image as PNG and its label.

use super::idx::{Images, CLASSES, EDGE, PIXELS};
use super::mnist::ImageSet;
use crate::error::{bail, ensure, Error, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use recurrent_weights::hub::Hub;
use std::fs::File;
use std::io::Cursor;
use std::path::Path;

/// The location of a set of images on the hub, at its branch `main`.
pub(super) struct Source {
    repository: &'static str,
    /// The folder of the two files.
    folder: &'static str,
}

/// MNIST: 15 and 3 MB.
const MNIST: Source = Source { repository: "ylecun/mnist", folder: "mnist" };

/// Fashion-MNIST.
const FASHION: Source =
    Source { repository: "zalando-datasets/fashion_mnist", folder: "fashion_mnist" };

/// The location of a set of images.
pub(super) const fn source(set: ImageSet) -> &'static Source {
    match set {
        ImageSet::Mnist => &MNIST,
        ImageSet::FashionMnist => &FASHION,
    }
}

/// Returns the training and test images, fetched unless they are in the cache.
pub(super) fn images(hub: &Hub, source: &Source) -> Result<[Images; 2]> {
    let repository = hub.dataset(source.repository).map_err(|error| Error::Other(error.into()))?;
    let split = |name: &str| {
        let file = format!("{}/{name}-00000-of-00001.parquet", source.folder);
        read(&repository.file(&file).map_err(|error| Error::Other(error.into()))?)
    };
    Ok([split("train")?, split("test")?])
}

/// Reads a parquet file with the columns `image.bytes`, a PNG, and `label`.
fn read(path: &Path) -> Result<Images> {
    let failed = |error| Error::data(format!("{}: {error}", path.display()));
    let file =
        File::open(path).map_err(|error| Error::data(format!("{}: {error}", path.display())))?;
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (number, row) in reader.get_row_iter(None).map_err(failed)?.enumerate() {
        let row = row.map_err(failed)?;
        let place = || format!("{}: row {number}", path.display());
        let (Some(image), Some(label)) = columns(&row) else {
            bail!("{}: expected the columns image.bytes and label, found {row}", place())
        };
        let Some(label) = u8::try_from(label).ok().filter(|&label| usize::from(label) < CLASSES)
        else {
            bail!("{}: expected a label of 0 to {}, found {label}", place(), CLASSES - 1)
        };
        pixels.extend(decode(image).map_err(|error| error.within(place()))?);
        labels.push(label);
    }
    ensure!(!labels.is_empty(), "{}: expected at least 1 image, found 0", path.display());
    Ok(Images { pixels, labels })
}

/// The image and the label of a row.
fn columns(row: &Row) -> (Option<&[u8]>, Option<i64>) {
    let (mut image, mut label) = (None, None);
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("image", Field::Group(group)) => {
                image = group.get_column_iter().find_map(|(name, field)| {
                    match (name.as_str(), field) {
                        ("bytes", Field::Bytes(bytes)) => Some(bytes.data()),
                        _ => None,
                    }
                });
            }
            ("label", Field::Long(class)) => label = Some(*class),
            _ => {}
        }
    }
    (image, label)
}

/// Decodes a PNG of 28 by 28 grey values of 8 bits. The header is checked before decompression.
fn decode(image: &[u8]) -> Result<[u8; PIXELS]> {
    let failed = |error: png::DecodingError| Error::data(error.to_string());
    let mut reader = png::Decoder::new(Cursor::new(image)).read_info().map_err(failed)?;
    let info = reader.info();
    let found = (info.width as usize, info.height as usize, info.color_type, info.bit_depth);
    let expected = (EDGE, EDGE, png::ColorType::Grayscale, png::BitDepth::Eight);
    ensure!(found == expected, "expected a PNG of {expected:?}, found {found:?}");
    let mut pixels = [0; PIXELS];
    reader.next_frame(&mut pixels).map_err(failed)?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::idx::tests::Folder;
    use anyhow::Result;
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::fs;
    use std::sync::Arc;

    const COMMIT: &str = "1111111111111111111111111111111111111111";

    /// An empty cache without access to a hub.
    fn offline() -> Result<(Hub, tempfile::TempDir)> {
        let cache = tempfile::tempdir()?;
        let hub = Hub {
            endpoint: Some("http://127.0.0.1:9".into()),
            cache: Some(cache.path().to_owned()),
            token: None,
            offline: true,
            retries: 0,
            on_transfer: None,
        };
        Ok((hub, cache))
    }

    fn png(edge: usize, color: png::ColorType, pixels: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, edge as u32, edge as u32);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(pixels)?;
        Ok(bytes)
    }

    fn pngs(images: &Images) -> Result<Vec<Vec<u8>>> {
        images
            .pixels
            .chunks(PIXELS)
            .map(|pixels| png(EDGE, png::ColorType::Grayscale, pixels))
            .collect()
    }

    /// Writes a file like those on the hub: nested optional columns, compressed with snappy.
    fn write(path: &Path, label: &str, images: &[Vec<u8>], labels: &[i64]) -> Result<()> {
        let schema = format!(
            "message schema {{ optional group image {{ optional binary bytes; optional binary path \
             (UTF8); }} optional int64 {label}; }}"
        );
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = Arc::new(parse_message_type(&schema)?);
        let mut writer =
            SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
        let mut rows = writer.next_row_group()?;
        let mut column = rows.next_column()?.expect("image.bytes");
        let images: Vec<_> = images.iter().map(|image| ByteArray::from(image.clone())).collect();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&vec![2; images.len()]), None)?;
        column.close()?;
        let mut column = rows.next_column()?.expect("image.path");
        // none
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; images.len()]), None)?;
        column.close()?;
        let mut column = rows.next_column()?.expect("label");
        column.typed::<Int64Type>().write_batch(labels, Some(&vec![1; labels.len()]), None)?;
        column.close()?;
        rows.close()?;
        writer.close()?;
        Ok(())
    }

    /// Fills a cache with a tiny MNIST and returns the images, read from IDX files.
    fn fill(cache: &Path, source: &Source) -> Result<[Images; 2]> {
        let folder = cache.join(format!("datasets--{}", source.repository.replace('/', "--")));
        let files = folder.join("snapshots").join(COMMIT).join(source.folder);
        fs::create_dir_all(folder.join("refs"))?;
        fs::create_dir_all(&files)?;
        fs::write(folder.join("refs/main"), COMMIT)?;
        let both = Images::read(&Folder::mnist(30, 20)?.0)?;
        for (name, images) in ["train", "test"].into_iter().zip(&both) {
            let labels: Vec<_> = images.labels.iter().map(|&label| i64::from(label)).collect();
            let path = files.join(format!("{name}-00000-of-00001.parquet"));
            write(&path, "label", &pngs(images)?, &labels)?;
        }
        Ok(both)
    }

    #[test]
    fn parquet_and_idx_contain_the_same_images() -> Result<()> {
        let (hub, cache) = offline()?;
        for set in ImageSet::ALL {
            let expected = fill(cache.path(), source(set))?;
            for (found, expected) in images(&hub, source(set))?.into_iter().zip(expected) {
                assert_eq!(found.labels, expected.labels);
                assert!(found.pixels == expected.pixels);
            }
        }
        Ok(())
    }

    #[test]
    fn offline_errors_name_the_missing_file() -> Result<()> {
        let (hub, _cache) = offline()?;
        let error = format!("{:#}", images(&hub, &MNIST).expect_err("must fail"));
        let expected =
            "hub dataset ylecun/mnist at main: mnist/train-00000-of-00001.parquet is not in the \
             cache at ";
        assert!(error.starts_with(expected) && error.contains("HF_HUB_OFFLINE"), "{error}");
        Ok(())
    }

    #[test]
    fn errors_name_the_damaged_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.parquet");
        let error = || {
            let error = anyhow::Error::from(read(&path).expect_err("must fail"));
            format!("{error:#}").replace(&path.display().to_string(), "FILE")
        };
        let grey = png(EDGE, png::ColorType::Grayscale, &[7; PIXELS])?;

        assert!(error().starts_with("FILE: No such file"), "{}", error());
        fs::write(&path, "no parquet at all")?;
        assert!(error().starts_with("FILE: Parquet error: Invalid Parquet file"), "{}", error());
        write(&path, "label", &[], &[])?;
        assert_eq!(error(), "FILE: expected at least 1 image, found 0");
        write(&path, "digit", &[grey.clone()], &[1])?;
        assert!(
            error().starts_with("FILE: row 0: expected the columns image.bytes and label, found {"),
            "{}",
            error()
        );
        for label in [-1, 10, 256] {
            write(&path, "label", &[grey.clone(), grey.clone()], &[1, label])?;
            assert_eq!(error(), format!("FILE: row 1: expected a label of 0 to 9, found {label}"));
        }
        for (edge, color, found) in [
            (27, png::ColorType::Grayscale, "(27, 27, Grayscale, Eight)"),
            (28, png::ColorType::Rgb, "(28, 28, Rgb, Eight)"),
        ] {
            let image = png(edge, color, &vec![7; edge * edge * color.samples()])?;
            write(&path, "label", &[image], &[1])?;
            let expected = "expected a PNG of (28, 28, Grayscale, Eight)";
            assert_eq!(error(), format!("FILE: row 0: {expected}, found {found}"));
        }
        write(&path, "label", &[grey[..grey.len() - 20].to_vec()], &[1])?;
        assert!(error().starts_with("FILE: row 0: "), "{}", error());

        write(&path, "label", &[grey], &[1])?;
        let whole = fs::read(&path)?;
        for length in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..length])?;
            assert!(error().starts_with("FILE: "), "{}", error());
        }
        Ok(())
    }
}
