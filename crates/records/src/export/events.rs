//! Event files: the few messages of `event.proto` and `summary.proto` that are needed, in TFRecord
//! frames.
//!
//! A frame is: the length of the record as 8 bytes, little-endian; the masked CRC-32C of these; the
//! record; its masked CRC-32C (`tensorflow/core/lib/io/record_writer.h`).

use crc32c::crc32c;

/// An event file under construction.
pub(super) struct Events(Vec<u8>);

impl Events {
    /// A file with its header, which holds the version of the format.
    pub(super) fn new(time: f64) -> Self {
        let mut events = Self(Vec::new());
        let mut event = Message::default();
        event.double(1, time).bytes(3, b"brain.Event:2");
        events.frame(&event.0);
        events
    }

    /// A number at a step.
    pub(super) fn scalar(&mut self, time: f64, step: u64, tag: &str, value: f64) {
        let mut entry = Message::default();
        entry.bytes(1, tag.as_bytes()).float(2, value as f32);
        self.summary(time, step, &entry);
    }

    /// A histogram at a step: the upper bounds of its buckets, which rise, and the content of each.
    pub(super) fn histogram(
        &mut self,
        time: f64,
        step: u64,
        tag: &str,
        bounds: &[f64],
        counts: &[f64],
    ) {
        let total: f64 = counts.iter().sum();
        let moment = |power: i32| {
            bounds.iter().zip(counts).map(|(at, count)| at.powi(power) * count).sum::<f64>()
        };
        let mut histogram = Message::default();
        let (low, high) = (
            bounds.first().map_or(0.0, |bound| bound - 1.0),
            bounds.last().copied().unwrap_or(0.0),
        );
        histogram
            .double(1, low)
            .double(2, high)
            .double(3, total)
            .double(4, moment(1))
            .double(5, moment(2));
        histogram.packed(6, bounds).packed(7, counts);
        let mut entry = Message::default();
        entry.bytes(1, tag.as_bytes()).bytes(5, &histogram.0);
        self.summary(time, step, &entry);
    }

    /// The file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn summary(&mut self, time: f64, step: u64, entry: &Message) {
        let mut summary = Message::default();
        summary.bytes(1, &entry.0);
        let mut event = Message::default();
        event.double(1, time).varint(2, step).bytes(5, &summary.0);
        self.frame(&event.0);
    }

    fn frame(&mut self, record: &[u8]) {
        let length = (record.len() as u64).to_le_bytes();
        self.0.extend(length);
        self.0.extend(masked(crc32c(&length)).to_le_bytes());
        self.0.extend(record);
        self.0.extend(masked(crc32c(record)).to_le_bytes());
    }
}

/// A protocol-buffers message: its fields in sequence, each after its number and wire type.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn varint(&mut self, field: u64, value: u64) -> &mut Self {
        self.number(field << 3).number(value)
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.number(field << 3 | 1).0.extend(value.to_le_bytes());
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.number(field << 3 | 5).0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.number(field << 3 | 2).number(value.len() as u64).0.extend(value);
        self
    }

    fn packed(&mut self, field: u64, values: &[f64]) -> &mut Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }
}

/// A masked checksum, as stored in files: a checksum of data that contains checksums is then no
/// special case.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_the_standard() {
        // RFC 3720, appendix B.4; the check value of CRC-32C.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_scalar_byte_by_byte() {
        let mut events = Events(Vec::new());
        events.scalar(1.5, 300, "loss", 0.25);
        let bytes = events.into_bytes();
        // Event { wall_time: 1.5, step: 300, summary: { value: { tag: "loss", simple_value: 0.25 }
        // } }
        let record =
            b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\x80\x3e";
        assert_eq!(bytes[..8], (record.len() as u64).to_le_bytes());
        assert_eq!(&bytes[12..12 + record.len()], record);
        assert_eq!(bytes.len(), 16 + record.len());
    }
}
