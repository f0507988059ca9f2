//! Numbers in a sentence.

/// Two significant digits: `0.25`, `4.1e-20`, `1.0e9`, `340`.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_string(),
        size if !size.is_finite() => format!("{value}"),
        size if !(1e-3..1e4).contains(&size) => format!("{value:.1e}"),
        size => {
            let digits = (1 - size.log10().floor() as i32).max(0) as usize;
            format!("{value:.digits$}")
        }
    }
}

/// A number of things: `1 run`, `70 runs`. Adds an s unless the number is 1.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A quantity with its unit: `1 step`, `2.5 steps`, `70 steps`.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    if value.fract() == 0.0 && (0.0..1e6).contains(&value) {
        return count(value as usize, unit);
    }
    format!("{} {unit}s", number(value))
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        let values = [0.0, 0.25, 1.0, 9.96, 42.4, 340.4, 2e-20, 12_345.0, f64::INFINITY];
        let written = ["0", "0.25", "1.0", "10.0", "42", "340", "2.0e-20", "1.2e4", "inf"];
        assert_eq!(values.map(number), written);
        let steps = [1.0, 2.0, 1.25].map(|value| quantity(value, "step"));
        assert_eq!(steps, ["1 step", "2 steps", "1.2 steps"]);
        assert_eq!([0, 1, 2].map(|number| count(number, "run")), ["0 runs", "1 run", "2 runs"]);
        assert_eq!(percent(0.666), "67 %");
    }
}
