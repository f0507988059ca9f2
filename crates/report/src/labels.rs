//! Positions of labels without overlaps.

/// The smallest distance between two labels, in units.
pub(super) const LABEL: f64 = 13.0;

/// Moves rising positions apart until each is at least [`LABEL`] from the next, within the bounds
/// if there is room.
pub(super) fn spread_out(wanted: &[f64], (top, bottom): (f64, f64)) -> Vec<f64> {
    // Blocks of labels that touch. Each block is placed at the mean of its members' wishes. The
    // tuple holds the wished position of the first member, summed over the members, and their
    // number.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    let room = |members: usize| (members - 1) as f64 * LABEL;
    let first =
        |(sum, members): (f64, usize)| (sum / members as f64).min(bottom - room(members)).max(top);
    for &place in wanted {
        let mut block = (place, 1);
        while let Some(&above) = blocks.last() {
            if first(above) + room(above.1) + LABEL <= first(block) {
                break;
            }
            blocks.pop();
            block = (above.0 + block.0 - (above.1 * block.1) as f64 * LABEL, above.1 + block.1);
        }
        blocks.push(block);
    }
    let members =
        |block: (f64, usize)| (0..block.1).map(move |member| first(block) + member as f64 * LABEL);
    blocks.into_iter().flat_map(members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        let wanted = [10.0, 11.0, 12.0, 100.0, 101.0, 200.0, 200.0];
        let places = spread_out(&wanted, (10.0, 200.0));
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LABEL - 1e-9), "{places:?}");
        assert!(places.iter().all(|place| (10.0..=200.0).contains(place)), "{places:?}");
        assert_eq!(places[3..5], [94.0, 107.0], "around the middle of both");
        assert_eq!(spread_out(&[], (0.0, 1.0)), [0.0; 0]);
    }
}
