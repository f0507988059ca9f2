//! Numbers in a text.

/// Two significant digits: `0.25`, `4.1e-20`, `1.0e9`, `340`.
pub(super) fn number(value: f64) -> String {
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

/// A number of things: `1 step`, `2.5 steps`, `70 steps`.
pub(super) fn count(value: f64, thing: &str) -> String {
    let plural = if value == 1.0 { "" } else { "s" };
    match value.fract() == 0.0 && value < 1e6 {
        true => format!("{value:.0} {thing}{plural}"),
        false => format!("{} {thing}{plural}", number(value)),
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        let written =
            [0.0, 0.25, 1.0, 9.96, 42.4, 340.4, 2e-20, 12_345.0, f64::INFINITY].map(number);
        assert_eq!(written, ["0", "0.25", "1.0", "10.0", "42", "340", "2.0e-20", "1.2e4", "inf"]);
        assert_eq!(
            [1.0, 2.0, 1.25].map(|value| count(value, "step")),
            ["1 step", "2 steps", "1.2 steps"]
        );
        assert_eq!(percent(0.666), "67 %");
    }
}
