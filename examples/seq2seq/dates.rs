//! Dates in two ways of writing.

use rand::Rng;

const MONTHS: &str = "january february march april may june july august september october \
                      november december";

/// Random dates as people write them, and in ISO 8601. One in ten dates is held out.
pub(crate) fn dates(
    count: usize,
    held_out: bool,
    rng: &mut impl Rng,
) -> (Vec<String>, Vec<String>) {
    (0..count).map(|_| date(held_out, rng)).unzip()
}

fn date(held_out: bool, rng: &mut impl Rng) -> (String, String) {
    let (day, month, year) =
        (rng.random_range(1..=28), rng.random_range(1..=12), rng.random_range(1900..2100));
    if ((7 * day + 3 * month + year) % 10 == 0) != held_out {
        return date(held_out, rng);
    }
    let name = MONTHS.split(' ').nth(month - 1).expect("a month from 1 to 12");
    let written = match rng.random_range(0..4) {
        0 => format!("{name} {day}, {year}"),
        1 => format!("{day} {name} {year}"),
        2 => format!("{day}. {} {year}", &name[..3]),
        _ => format!("{day}.{month}.{year}"),
    };
    (written, format!("{year}-{month:02}-{day:02}"))
}
