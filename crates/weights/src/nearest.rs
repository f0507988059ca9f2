//! The convention that a set of tensors looks like.

use crate::convention::parse;
use crate::{conventions, Convention, Tensors};
use recurrent_core::LayerId;
use std::collections::BTreeSet;

/// The share of a convention that must match for a hint: of four tensors, one may be missing and
/// another may have a wrong shape.
const ENOUGH: f64 = 0.6;

/// The hint for `found`, unless `asked` is the best match. If names and shapes fit several
/// conventions equally well, it names all of them.
pub(crate) fn hint(
    asked: &Convention,
    found: &Tensors,
    expected: &[(String, Vec<usize>)],
) -> Option<String> {
    let all = conventions::all().into_iter();
    let scored: Vec<_> = all
        .filter_map(|convention| Some((score(&convention, found, expected)?, convention)))
        .collect();
    let best = scored.iter().map(|((score, _), _)| *score).max_by(f64::total_cmp)?;
    let first = scored.into_iter().filter(|((score, _), _)| *score == best && best >= ENOUGH);
    let named = first.map(|((_, prefix), convention)| {
        let own = convention.source == asked.source && prefix == asked.prefix;
        let under = if prefix.is_empty() { String::new() } else { format!(".under({prefix:?})") };
        (!own).then(|| format!("{}: {}{under}", convention.name, convention.source))
    });
    let named = named.collect::<Option<Vec<_>>>().filter(|named| !named.is_empty())?;
    Some(format!("these look like {}", named.join(", or ")))
}

/// The share of the bottom forward layer that is present under one prefix, from 0 to 1, and that
/// prefix; a right name with a wrong shape counts half. `None` if the convention is for other
/// cells.
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
    let has = |base: &str| bottom.iter().any(|(other, ..)| *other == base);
    let mut whole = convention.weights.iter().filter(|weight| !weight.ours.starts_with("bias"));
    if !whole.all(|weight| has(&weight.ours)) || !same_gates(convention, &bottom) {
        return None;
    }
    let mut wanted = Vec::new();
    for (base, place, shape) in &bottom {
        match convention.weight(base) {
            Some(weight) => {
                let pieces = convention.pieces(weight, *place, shape).ok()?;
                wanted.extend(pieces.into_iter().map(|piece| (piece.name, piece.shape)));
            }
            None if convention.absorbed(base) => {}
            None if convention.rest => {
                wanted.push((format!("{base}{}", place.suffix()), shape.to_vec()))
            }
            None => return None,
        }
    }
    let prefixes: BTreeSet<&str> = found
        .keys()
        .flat_map(|name| wanted.iter().filter_map(|(end, _)| name.strip_suffix(end.as_str())))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with(['.', '/', ':', '|', '_']))
        .collect();
    let of = |prefix: &str| {
        let worth =
            wanted.iter().map(|(name, shape)| match found.get(&format!("{prefix}{name}")) {
                Some(tensor) if tensor.dims() == shape.as_slice() => 1.0,
                Some(_) => 0.5,
                None => 0.0,
            });
        worth.sum::<f64>() / wanted.len().max(1) as f64
    };
    prefixes
        .into_iter()
        .map(|prefix| (of(prefix), prefix.to_string()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Whether the recurrent matrix has as many blocks of rows as the convention has gates; a
/// convention without gates accepts any.
fn same_gates(convention: &Convention, bottom: &[(&str, LayerId, &Vec<usize>)]) -> bool {
    let recurrent = bottom.iter().find(|(base, ..)| *base == "weight_hh");
    let projected = bottom.iter().any(|(base, ..)| *base == "weight_hr");
    match recurrent.map(|(_, _, shape)| shape.as_slice()) {
        Some(&[rows, columns]) if !projected && !convention.gates.is_empty() => {
            columns.checked_mul(convention.gates.len()) == Some(rows)
        }
        _ => true,
    }
}
