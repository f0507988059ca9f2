//! Colours and dashes. No information is given by colour alone.

/// The number of line colours: those of Okabe and Ito 2008 except yellow, which is invisible on
/// white. `plot.css` holds them.
const COLOURS: usize = 7;

/// The number of dash patterns, the first of which is solid.
const DASHES: usize = 4;

/// The classes of the line of a variant. Neighbours differ in colour and in dash, and 28 variants
/// differ in at least one of them.
pub(super) fn line(index: usize) -> String {
    styled(index, index)
}

/// The classes of a line in a colour and a dash.
pub(super) fn styled(colour: usize, dash: usize) -> String {
    format!("c{} d{}", colour % COLOURS, dash % DASHES)
}

/// The class of the fill of a variant's band.
pub(super) fn fill(index: usize) -> String {
    format!("f{}", index % COLOURS)
}

/// The number of colours of a heat map.
pub const LEVELS: usize = 40;

/// Viridis of matplotlib (Smith and van der Walt 2015) at nine positions.
const VIRIDIS: [[f64; 3]; 9] = [
    [68.0, 1.0, 84.0],
    [71.0, 44.0, 122.0],
    [59.0, 81.0, 139.0],
    [44.0, 113.0, 142.0],
    [33.0, 144.0, 141.0],
    [39.0, 173.0, 129.0],
    [92.0, 200.0, 99.0],
    [170.0, 220.0, 50.0],
    [253.0, 231.0, 37.0],
];

/// A colour of the heat map: `#440154` for level 0, the lowest. Levels above the last have the last
/// colour.
pub fn heat(level: usize) -> String {
    let [red, green, blue] = rgb(level);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The same as red, green and blue.
pub fn rgb(level: usize) -> [u8; 3] {
    let place = level.min(LEVELS - 1) as f64 / (LEVELS - 1) as f64 * (VIRIDIS.len() - 1) as f64;
    let below = (place as usize).min(VIRIDIS.len() - 2);
    let share = place - below as f64;
    [0, 1, 2].map(|channel| {
        let (from, to) = (VIRIDIS[below][channel], VIRIDIS[below + 1][channel]);
        (from + share * (to - from)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn lines_differ() {
        let lines: BTreeSet<_> = (0..28).map(line).collect();
        assert_eq!(lines.len(), 28);
        let style = crate::page::PLOT_STYLE;
        for class in (0..COLOURS).flat_map(|colour| [format!(".c{colour}"), format!(".f{colour}")])
        {
            assert!(style.contains(&class), "{class}");
        }
        assert!((1..DASHES).all(|dash| style.contains(&format!(".d{dash}"))));
    }

    #[test]
    fn the_scale_of_heat_rises_in_lightness() {
        assert_eq!([heat(0), heat(LEVELS - 1), heat(1000)], ["#440154", "#fde725", "#fde725"]);
        let lightness = |level: usize| {
            let colour = heat(level);
            let channel = |at: usize| {
                f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two hex digits"))
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        assert!((1..LEVELS).all(|level| lightness(level) > lightness(level - 1)));
    }
}
