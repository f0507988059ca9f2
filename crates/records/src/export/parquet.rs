//! A table as a Parquet file: one row group, optional columns, plain types.

use super::table::{Column, Table};
use ::parquet::basic::{ConvertedType, Repetition, Type as Physical};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::Result;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;
use std::sync::Arc;

/// The file.
pub(super) fn file(table: &Table) -> Result<Vec<u8>> {
    let fields = table.columns.iter().map(|(name, column)| {
        let (physical, converted) = match column {
            Column::Text(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            // Differences of whole numbers may be negative; a seed needs all 64 bits.
            Column::Whole(_) if name == "seed" || name.ends_with(".seed") => {
                (Physical::INT64, ConvertedType::UINT_64)
            }
            Column::Whole(_) => (Physical::INT64, ConvertedType::INT_64),
            Column::Real(_) => (Physical::DOUBLE, ConvertedType::NONE),
            Column::Flag(_) => (Physical::BOOLEAN, ConvertedType::NONE),
        };
        let field = Type::primitive_type_builder(name, physical).with_converted_type(converted);
        Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).build()?))
    });
    let schema =
        Type::group_type_builder(table.name).with_fields(fields.collect::<Result<_>>()?).build()?;
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(
        &mut bytes,
        Arc::new(schema),
        Arc::new(WriterProperties::default()),
    )?;
    let mut group = writer.next_row_group()?;
    for (_, column) in &table.columns {
        let Some(mut open) = group.next_column()? else { break };
        match (open.untyped(), column) {
            (ColumnWriter::ByteArrayColumnWriter(writer), Column::Text(values)) => {
                let (levels, values) =
                    known(values, |text: &String| ByteArray::from(text.as_str()));
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::Int64ColumnWriter(writer), Column::Whole(values)) => {
                // The bits of an unsigned number, where the converted type says so.
                let (levels, values) = known(values, |value| *value as i64);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::DoubleColumnWriter(writer), Column::Real(values)) => {
                let (levels, values) = known(values, |value| *value);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::BoolColumnWriter(writer), Column::Flag(values)) => {
                let (levels, values) = known(values, |value| *value);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            _ => unreachable!("the schema above gives every column its writer"),
        }
        open.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

/// The definition level of each row (1 if it has a value), and the values.
fn known<T, U>(values: &[Option<T>], value: impl Fn(&T) -> U) -> (Vec<i16>, Vec<U>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (levels, values.iter().flatten().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use crate::sample;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::RowAccessor;
    use anyhow::Result;

    #[test]
    fn written_tables_are_read_back() -> Result<()> {
        let mut records = sample::records();
        records.runs[0].config.seed = u64::MAX;
        records.runs[0].outcome.final_loss = f64::NAN;
        for table in table::all(&records) {
            let path = tempfile::NamedTempFile::new()?;
            std::fs::write(path.path(), file(&table)?)?;
            let reader = SerializedFileReader::new(path.reopen()?)?;
            let rows = reader.get_row_iter(None)?.collect::<Result<Vec<_>, _>>()?;
            let found = table.columns.first().map_or(0, |(_, column)| column.len());
            assert_eq!(rows.len(), found, "{}", table.name);
            if table.name == "runs" {
                let place = |name: &str| {
                    table.columns.iter().position(|(known, _)| known == name).expect("a column")
                };
                let (variant, seed) = (place("variant"), place("seed"));
                assert_eq!(rows[0].get_string(variant)?, &records.runs[0].config.model.variant);
                assert_eq!(rows[0].get_ulong(seed)?, u64::MAX);
                assert!(rows[0].get_double(place("outcome.final_loss"))?.is_nan());
                assert!(
                    rows[14].get_double(place("gradients.trained.h.half_life")).is_err(),
                    "null"
                );
                assert_eq!(
                    rows[3].get_double(place("config.task.baseline"))?,
                    records.runs[3].config.task.baseline
                );
            }
        }
        Ok(())
    }
}
