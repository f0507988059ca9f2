//! Which convention a set of tensors looks like.

use crate::convention::parse;
use crate::{conventions, Convention, Tensors};
use std::collections::BTreeSet;

/// How much of a convention must be there to be named.
const ENOUGH: f64 = 0.7;

/// What `found` looks like, in words, if `asked` is not what it looks like most.
pub(crate) fn hint(asked: &Convention, found: &Tensors, expected: &[(String, Vec<usize>)]) -> Option<String> {
    let best = conventions::all()
        .into_iter()
        .filter_map(|convention| Some((score(&convention, found, expected)?, convention)));
    let ((score, prefix), convention) = best.max_by(|a, b| (a.0 .0).total_cmp(&b.0 .0))?;
    if score < ENOUGH || (convention.source == asked.source && prefix == asked.prefix) {
        return None;
    }
    let under = if prefix.is_empty() { String::new() } else { format!(".under({prefix:?})") };
    Some(format!("these look like {}: {}{under}", convention.name, convention.source))
}

/// How much of the bottom layer, forward, is there under one prefix, from 0 to 1; a right name with a wrong shape is worth half. With that prefix.
fn score(
    convention: &Convention,
    found: &Tensors,
    expected: &[(String, Vec<usize>)],
) -> Option<(f64, String)> {
    let bottom = expected.iter().filter_map(|(name, shape)| {
        let (base, place) = parse(name)?;
        (place.layer == 0 && !place.reverse).then_some((base, place, shape))
    });
    let bottom: Vec<_> = bottom.collect();
    let recurrent = bottom.iter().find(|(base, ..)| *base == "weight_hh");
    let gates = recurrent.and_then(|(_, _, shape)| Some(shape[0] / shape.get(1)?.max(&1)));
    let mut wanted = Vec::new();
    for (base, place, shape) in bottom {
        match convention.weight(base) {
            Some(weight) if gates.is_none_or(|gates| gates >= convention.gates.len()) => {
                let pieces = convention.pieces(weight, place, shape).ok()?;
                wanted.extend(pieces.into_iter().map(|piece| (piece.name, piece.shape)));
            }
            None if convention.absorbed(base) => {}
            None if convention.rest => wanted.push((format!("{base}{}", place.suffix()), shape.clone())),
            _ => return None,
        }
    }
    let ends: BTreeSet<&str> = found
        .keys()
        .flat_map(|name| wanted.iter().filter_map(|(end, _)| name.strip_suffix(end.as_str())))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/', ':', '|', '_']))
        .collect();
    let of = |prefix: &str| {
        let worth = wanted.iter().map(|(name, shape)| match found.get(&format!("{prefix}{name}")) {
            Some(tensor) if tensor.dims() == shape.as_slice() => 1.0,
            Some(_) => 0.5,
            None => 0.0,
        });
        worth.sum::<f64>() / wanted.len().max(1) as f64
    };
    ends.into_iter().map(|prefix| (of(prefix), prefix.to_string())).max_by(|a, b| a.0.total_cmp(&b.0))
}
