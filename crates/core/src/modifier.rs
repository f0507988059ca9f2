//! The grammar of modifiers, `name[=value]`: named changes of a network or its training, as in
//! `lstm+forget-bias=1+clip=0.5`.
//!
//! A crate contributes a table of [`ModifierRow`]s. A row has the syntax of a modifier, by which it
//! is parsed, and a function that converts its [`ModifierValue`]:
//!
//! ```
//! use recurrent_core::modifier::{parse, ModifierRow};
//!
//! const TABLE: &[ModifierRow<f64>] = &[
//!     ModifierRow::new("clip[=NORM]", "bounded gradient", "Pascanu 2013", |v| v.positive_or(1.0)),
//!     ModifierRow::new("no-clip", "free gradient", "", |_| Ok(f64::INFINITY)),
//! ];
//! assert_eq!(parse(TABLE, "clip=0.5"), Ok(Some(0.5)));
//! assert_eq!(parse(TABLE, "clip"), Ok(Some(1.0)));
//! assert_eq!(parse(TABLE, "chrono"), Ok(None)); // another table may know it
//! let error = parse(TABLE, "no-clip=1").unwrap_err().to_string();
//! assert_eq!(error, "modifier no-clip: expected no value, got \"1\"");
//! ```

use std::fmt;

/// The syntax, the effect and the source of a modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModifierSpec {
    /// `name`, `name=VALUE`, or `name[=VALUE]` if the value has a default. `.G` at the end of a
    /// name stands for the name of a gate: `bias.G=B` for `bias.f=1`.
    pub usage: &'static str,
    /// The effect.
    pub summary: &'static str,
    /// The paper or program of origin, or empty.
    pub source: &'static str,
}

/// A row of a table of modifiers: a description, and a function that converts the value.
#[derive(Clone, Copy, Debug)]
pub struct ModifierRow<T> {
    /// The description.
    pub spec: ModifierSpec,
    read: fn(&ModifierValue<'_>) -> Result<T, ModifierError>,
}

/// The name and the value of a modifier, for the function of a row.
#[derive(Clone, Copy, Debug)]
pub struct ModifierValue<'a> {
    name: &'a str,
    gate: &'a str,
    text: Option<&'a str>,
    usage: &'static str,
}

/// The error of a modifier with an invalid value; a message of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifierError(String);

impl fmt::Display for ModifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ModifierError {}

/// Parses a modifier by the first row with its name; `None` if no row has that name.
///
/// # Errors
/// If the value is missing, or the row does not accept it.
pub fn parse<T>(table: &[ModifierRow<T>], text: &str) -> Result<Option<T>, ModifierError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let row = table.iter().find_map(|row| Some((row, row.spec.gate(name)?)));
    row.map(|(row, gate)| {
        let value = ModifierValue { name, gate, text: value, usage: row.spec.usage };
        match (value.text, row.spec.usage.contains('=')) {
            (Some(text), false) => Err(value.error("no value", text)),
            _ => (row.read)(&value),
        }
    })
    .transpose()
}

impl ModifierSpec {
    /// The name, without the value.
    pub fn name(&self) -> &'static str {
        self.usage.split(['=', '[']).next().unwrap_or_default()
    }

    /// The gate in `name`, empty if this modifier has no gate; `None` for another modifier.
    fn gate<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.name().strip_suffix(".G") {
            Some(prefix) => name.strip_prefix(prefix)?.strip_prefix('.'),
            None => (name == self.name()).then_some(""),
        }
    }
}

impl<T> ModifierRow<T> {
    /// A row; the texts are the fields of [`ModifierSpec`].
    pub const fn new(
        usage: &'static str,
        summary: &'static str,
        source: &'static str,
        read: fn(&ModifierValue<'_>) -> Result<T, ModifierError>,
    ) -> Self {
        Self { spec: ModifierSpec { usage, summary, source }, read }
    }
}

impl<'a> ModifierValue<'a> {
    /// The gate at the end of the name.
    pub fn gate(&self) -> &'a str {
        self.gate
    }

    /// The value as text.
    ///
    /// # Errors
    /// If the value is missing.
    pub fn text(&self) -> Result<&'a str, ModifierError> {
        self.text.ok_or_else(|| {
            let kind = self.usage.split_once('=').map_or("X", |(_, kind)| kind);
            let name = self.name;
            ModifierError(format!("modifier {name}: expected a value, {name}={kind}"))
        })
    }

    /// A finite number.
    ///
    /// # Errors
    /// If the value is missing or invalid.
    pub fn number(&self) -> Result<f64, ModifierError> {
        self.finite(self.text()?)
    }

    /// A finite number, or `default` if there is no value.
    ///
    /// # Errors
    /// If the value is invalid.
    pub fn number_or(&self, default: f64) -> Result<f64, ModifierError> {
        self.text.map_or(Ok(default), |text| self.finite(text))
    }

    /// A finite number above zero.
    ///
    /// # Errors
    /// If the value is missing or invalid.
    pub fn positive(&self) -> Result<f64, ModifierError> {
        let text = self.text()?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(self.error("a positive number", text)),
        }
    }

    /// A finite number above zero, or `default` if there is no value.
    ///
    /// # Errors
    /// If the value is invalid.
    pub fn positive_or(&self, default: f64) -> Result<f64, ModifierError> {
        self.text.map_or(Ok(default), |_| self.positive())
    }

    /// A whole number, 1 or more.
    ///
    /// # Errors
    /// If the value is missing or invalid.
    pub fn count(&self) -> Result<usize, ModifierError> {
        self.whole(usize::MAX, "a whole number, 1 or more")
    }

    /// A whole number from 1 to `most`.
    ///
    /// # Errors
    /// If the value is missing or invalid.
    pub fn count_to(&self, most: usize) -> Result<usize, ModifierError> {
        self.whole(most, &format!("a whole number, 1 to {most}"))
    }

    /// One finite number, or two with a colon between them; `None` if there is no value.
    ///
    /// # Errors
    /// If the value is invalid.
    pub fn pair(&self) -> Result<Option<(f64, Option<f64>)>, ModifierError> {
        let Some(text) = self.text else { return Ok(None) };
        Ok(Some(match text.split_once(':') {
            Some((first, second)) => (self.finite(first)?, Some(self.finite(second)?)),
            None => (self.finite(text)?, None),
        }))
    }

    /// A word, and a finite number after a colon if there is one: `orthogonal:0.9`.
    ///
    /// # Errors
    /// If the value is missing, or the number is invalid.
    pub fn word(&self) -> Result<(&'a str, Option<f64>), ModifierError> {
        let text = self.text()?;
        match text.split_once(':') {
            Some((word, number)) => Ok((word, Some(self.finite(number)?))),
            None => Ok((text, None)),
        }
    }

    /// The error for a value that is not `expected`.
    pub fn unexpected(&self, expected: &str) -> ModifierError {
        self.error(expected, self.text.unwrap_or_default())
    }

    fn whole(&self, most: usize, expected: &str) -> Result<usize, ModifierError> {
        let text = self.text()?;
        match text.parse() {
            Ok(count) if (1..=most).contains(&count) => Ok(count),
            _ => Err(self.error(expected, text)),
        }
    }

    fn finite(&self, text: &str) -> Result<f64, ModifierError> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.error("a number", text)),
        }
    }

    fn error(&self, expected: &str, text: &str) -> ModifierError {
        ModifierError(format!("modifier {}: expected {expected}, got {text:?}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[ModifierRow<String>] = &[
        ModifierRow::new("plain", "", "", |_| Ok("plain".to_string())),
        ModifierRow::new("rate=X", "", "", |value| Ok(value.positive()?.to_string())),
        ModifierRow::new("bias.G=B", "", "", |value| {
            Ok(format!("{} {}", value.gate(), value.number()?))
        }),
        ModifierRow::new("layers=N", "", "", |value| Ok(value.count_to(9)?.to_string())),
        ModifierRow::new("window=K", "", "", |value| Ok(value.count()?.to_string())),
        ModifierRow::new("pair[=H[:C]]", "", "", |value| Ok(format!("{:?}", value.pair()?))),
    ];

    #[test]
    fn a_name_selects_its_row() {
        for (text, expected) in [
            ("plain", Some("plain")),
            ("rate=0.5", Some("0.5")),
            ("bias.f=-1", Some("f -1")),
            ("layers=9", Some("9")),
            ("window=10", Some("10")),
            ("pair", Some("None")),
            ("pair=1:2", Some("Some((1.0, Some(2.0)))")),
            ("Plain", None),
            ("", None),
            ("bias=1", None),
            ("biased.f=1", None),
            ("pairs=1", None),
        ] {
            assert_eq!(parse(TABLE, text), Ok(expected.map(str::to_string)), "{text}");
        }
        let names: Vec<_> = TABLE.iter().map(|row| row.spec.name()).collect();
        assert_eq!(names, ["plain", "rate", "bias.G", "layers", "window", "pair"]);
    }

    #[test]
    fn values_are_checked() {
        for (text, expected) in [
            ("plain=1", "modifier plain: expected no value, got \"1\""),
            ("rate", "modifier rate: expected a value, rate=X"),
            ("rate=0", "modifier rate: expected a positive number, got \"0\""),
            ("rate=inf", "modifier rate: expected a positive number, got \"inf\""),
            ("bias.f", "modifier bias.f: expected a value, bias.f=B"),
            ("bias.f=x", "modifier bias.f: expected a number, got \"x\""),
            ("layers=10", "modifier layers: expected a whole number, 1 to 9, got \"10\""),
            ("window=0", "modifier window: expected a whole number, 1 or more, got \"0\""),
            ("window=1.5", "modifier window: expected a whole number, 1 or more, got \"1.5\""),
            ("pair=1:", "modifier pair: expected a number, got \"\""),
        ] {
            let error = parse(TABLE, text).expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }
}
