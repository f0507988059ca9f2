//! Numbers of plots as CSV.

use super::numbers::significant;

/// A table under construction.
pub(super) struct Csv(::csv::Writer<Vec<u8>>);

impl Csv {
    /// A table with a header row only.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut csv = Self(::csv::Writer::from_writer(Vec::new()));
        csv.row(head);
        csv
    }

    /// Adds a row with as many cells as the header.
    pub(super) fn row<T: AsRef<[u8]>>(&mut self, cells: &[T]) {
        self.0.write_record(cells).expect("a row in memory is as long as the head");
    }

    /// The whole text.
    pub(super) fn text(self) -> String {
        let bytes = self.0.into_inner().expect("memory can be flushed");
        String::from_utf8(bytes).expect("all cells are text")
    }
}

/// A number with six digits that every program can read: `0.166667`, `3.2e-31`, `NaN`, `inf`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = significant(value, 6);
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trim(digits)),
        None => trim(&text).to_owned(),
    }
}

/// Removes zeros at the end of the decimals.
fn trim(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A `data:` URL of a table.
pub(super) fn url(csv: &str) -> String {
    let mut url = String::from("data:text/csv;charset=utf-8,");
    for byte in csv.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b',' | b'.' | b'-' | b'_' => {
                url.push(byte as char)
            }
            other => url += &format!("%{other:02X}"),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, text) in [
            (1.0 / 6.0, "0.166667"),
            (3.2e-31, "3.2e-31"),
            (0.0, "0"),
            (100.0, "100"),
            (1e-300, "1e-300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
            assert!(
                value.is_nan()
                    || (text.parse::<f64>().expect("a number") - value).abs() <= 5e-6 * value
                    || !value.is_finite()
            );
        }
    }

    #[test]
    fn urls_hold_every_byte() {
        assert_eq!(url("a,b\n\"é\",1"), "data:text/csv;charset=utf-8,a,b%0A%22%C3%A9%22,1");
    }
}
