//! How open the gates are, and the time constants of the keep gate.

use crate::profile::quantile;
use crate::Applicable;
use candle_core::{bail, DType, Result, Tensor};
use recurrent_core::{Activations, Gate, LayerId};
use serde::{Deserialize, Serialize};

/// Below this a gate is left-saturated (Karpathy, Johnson and Fei-Fei 2015, arXiv:1506.02078).
pub const LEFT: f64 = 0.1;

/// Above this a gate is right-saturated (the same).
pub const RIGHT: f64 = 0.9;

/// The gates of one layer, in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerGates {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Its gates, in the order of the cell; does not apply to a cell without named gates.
    pub gates: Applicable<Vec<GateUse>>,
}

/// How open one gate is, over all units, steps and examples.
///
/// A saturated gate passes everything or nothing and hardly learns, since its parameters learn by
/// the slope v (1 − v) of the sigmoid. That need not be a fault: an LSTM that must remember needs f
/// near 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateUse {
    /// Its name, as in the cell's equations.
    pub name: String,
    /// The mean of its values v.
    pub mean: f64,
    /// The share of values below [`LEFT`].
    pub left: f64,
    /// The share of values above [`RIGHT`].
    pub right: f64,
    /// The mean of v (1 − v), at most 1/4: the factor by which a gradient reaches the gate's own
    /// parameters.
    pub slope: f64,
    /// The same unit by unit, over steps and examples.
    pub units: Vec<UnitUse>,
    /// The time constants of the units, if this is the keep gate.
    pub retention: Option<Retention>,
}

/// How open one unit's gate is, over steps and examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitUse {
    /// The mean of its values.
    pub mean: f64,
    /// The share of values below [`LEFT`].
    pub left: f64,
    /// The share of values above [`RIGHT`].
    pub right: f64,
    /// The mean of v (1 − v).
    pub slope: f64,
}

/// The time constants of the keep gate, in steps, from the mean value E f of each unit.
///
/// The kept state decays as (E f)^k = e^{−k/τ} with τ = −1/ln E f, or about as 1 − k/τ with τ =
/// 1/(1 − E f), which is half a step longer for f near 1 (Gers, Schmidhuber and Cummins 2000;
/// Tallec and Ollivier 2018, arXiv:1804.11188v1). This uses the mean of the gate: a gate that opens
/// and shuts may keep longer or shorter. Paths through h are ignored; [`crate::carousel`] has the
/// product itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// 1/(1 − E f) of every unit; infinite for a gate that is always fully open.
    pub linear: TimeConstants,
    /// −1/ln E f of every unit; 0 for a gate that is always shut.
    pub exponential: TimeConstants,
}

/// Time constants in steps: every unit's, and their median and quartiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeConstants {
    /// By unit.
    pub units: Vec<f64>,
    /// The lower quartile.
    pub q25: f64,
    /// The median.
    pub median: f64,
    /// The upper quartile.
    pub q75: f64,
}

/// The gates of every recorded layer and direction, within the lengths of the examples.
///
/// # Errors
/// If a gate's values have another shape than `(batch, steps, hidden)`, and those of candle.
pub fn gates(observations: &[Activations]) -> Result<Vec<LayerGates>> {
    let layer = |seen: &Activations| {
        let gates = seen.gates.iter().map(|gate| gate_use(gate, &seen.lengths));
        let gates = match seen.gates.is_empty() {
            true => Applicable::NotApplicable("this cell names no gates".to_string()),
            false => Applicable::Value(gates.collect::<Result<_>>()?),
        };
        Ok(LayerGates { layer_id: seen.layer_id, gates })
    };
    observations.iter().map(layer).collect()
}

fn gate_use(gate: &Gate, lengths: &[usize]) -> Result<GateUse> {
    let rows = within(gate.name, &gate.values, lengths)?;
    let count = rows.len() as f64;
    let share = |values: &[f64], is: &dyn Fn(f64) -> f64| {
        values.iter().map(|&v| is(v)).sum::<f64>() / count
    };
    let unit = |unit: usize| {
        let values: Vec<_> = rows.iter().map(|row| row[unit]).collect();
        UnitUse {
            mean: share(&values, &|v| v),
            left: share(&values, &|v| f64::from(v < LEFT)),
            right: share(&values, &|v| f64::from(v > RIGHT)),
            slope: share(&values, &|v| v * (1.0 - v)),
        }
    };
    let units: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(unit).collect();
    let over_units =
        |of: fn(&UnitUse) -> f64| units.iter().map(of).sum::<f64>() / units.len() as f64;
    let constants =
        |of: fn(f64) -> f64| TimeConstants::of(units.iter().map(|unit| of(unit.mean)).collect());
    Ok(GateUse {
        name: gate.name.to_string(),
        mean: over_units(|unit| unit.mean),
        left: over_units(|unit| unit.left),
        right: over_units(|unit| unit.right),
        slope: over_units(|unit| unit.slope),
        retention: gate.keeps.then(|| Retention {
            linear: constants(|mean| 1.0 / (1.0 - mean)),
            exponential: constants(|mean| mean.recip().ln().recip()),
        }),
        units,
    })
}

impl TimeConstants {
    fn of(units: Vec<f64>) -> Self {
        let mut ordered = units.clone();
        ordered.sort_by(f64::total_cmp);
        let [q25, median, q75] = [0.25, 0.5, 0.75].map(|p| quantile(&ordered, p));
        Self { units, q25, median, q75 }
    }
}

/// The rows of `values`, `(batch, steps, size)`, within the lengths, example by example.
pub(crate) fn within(what: &str, values: &Tensor, lengths: &[usize]) -> Result<Vec<Vec<f64>>> {
    let steps = match values.dims() {
        &[batch, steps, _] if batch == lengths.len() && lengths.iter().all(|&len| len <= steps) => {
            steps
        }
        dims => bail!(
            "recorded {what}: expected (batch, steps, size) of examples of {lengths:?} steps, got \
            {dims:?}"
        ),
    };
    let rows = values.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    let within = rows
        .into_iter()
        .zip(lengths)
        .flat_map(|(rows, &len)| rows.into_iter().take(len.min(steps)));
    Ok(within.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn seen(gates: Vec<Gate>, lengths: &[usize]) -> Activations {
        Activations {
            layer_id: LayerId::layer(2),
            lengths: lengths.to_vec(),
            states: Vec::new(),
            gates,
        }
    }

    fn gate(values: &[[[f64; 2]; 3]; 2], keeps: bool) -> Result<Gate> {
        Ok(Gate { name: "f", values: Tensor::new(values, &Device::Cpu)?, keeps })
    }

    #[test]
    fn shares_and_means_are_those_within_the_lengths() -> Result<()> {
        // The second example has one step; the nines in its padding would be right-saturated and
        // change every mean.
        let values = [[[0.05, 0.5], [0.1, 0.9], [0.95, 0.2]], [[0.5, 0.8], [9.0, 9.0], [9.0, 9.0]]];
        let found = gates(&[seen(vec![gate(&values, true)?], &[3, 1])])?;
        assert_eq!(found[0].layer_id, LayerId::layer(2));
        let found = &found[0].gates.value().expect("it has a gate")[0];
        assert_eq!(
            (found.left, found.right),
            (1.0 / 8.0, 1.0 / 8.0),
            "0.1 and 0.9 themselves do not count"
        );
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-15, "{found}, not {expected}")
        };
        close(found.mean, (0.05 + 0.1 + 0.95 + 0.5 + 0.5 + 0.9 + 0.2 + 0.8) / 8.0);
        close(found.units[0].mean, 0.4);
        close(found.units[1].mean, 0.6);
        close(found.units[0].slope, (0.05 * 0.95 + 0.1 * 0.9 + 0.95 * 0.05 + 0.25) / 4.0);
        close(found.slope, (found.units[0].slope + found.units[1].slope) / 2.0);
        assert_eq!(
            (found.units[0].left, found.units[1].left, found.units[0].right),
            (0.25, 0.0, 0.25)
        );
        let memory = found.retention.as_ref().expect("it keeps");
        close(memory.linear.units[0], 1.0 / 0.6);
        close(memory.linear.median, (1.0 / 0.6 + 2.5) / 2.0);
        close(memory.exponential.units[1], -1.0 / 0.6f64.ln());
        Ok(())
    }

    #[test]
    fn time_constants_of_gates_at_the_ends() -> Result<()> {
        let values = [[[1.0, 0.0]; 3]; 2];
        let found = gates(&[seen(vec![gate(&values, true)?, gate(&values, false)?], &[3, 3])])?;
        let found = found[0].gates.value().expect("it has gates");
        let memory = found[0].retention.as_ref().expect("it keeps");
        assert_eq!(memory.linear.units, [f64::INFINITY, 1.0]);
        assert_eq!(memory.exponential.units, [f64::INFINITY, 0.0]);
        assert_eq!((found[0].left, found[0].right, found[0].slope), (0.5, 0.5, 0.0));
        assert_eq!(found[1].retention, None, "it does not keep");
        Ok(())
    }

    #[test]
    fn gates_do_not_apply_to_a_cell_without_gates() -> Result<()> {
        let found = gates(&[seen(Vec::new(), &[3])])?;
        assert_eq!(
            found[0].gates,
            Applicable::NotApplicable("this cell names no gates".to_string())
        );
        let short = gates(&[seen(vec![gate(&[[[0.5; 2]; 3]; 2], true)?], &[3, 4])]);
        let error = short.expect_err("four steps of three").to_string();
        assert!(error
            .starts_with("recorded f: expected (batch, steps, size) of examples of [3, 4] steps"));
        Ok(())
    }
}
