//! The units of a layer in the forward pass: dead units, saturated states, shut gates.

use super::finding::{Finding, FindingKind, Severity};
use super::suggestions::{Advice, Recurrence};
use super::thresholds::{DEAD, MOST, SATURATED, SHUT};
use crate::gates::within;
use crate::rank::still;
use crate::text::{number, percent};
use crate::{gates, GateUse};
use candle_core::Result;
use recurrent_core::Activations;

/// The activity of one layer's units, over all batches.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitActivity {
    gated: bool,
    /// The units that are constant in every batch.
    still: Vec<bool>,
    /// The units whose output is always zero.
    zero: Vec<bool>,
    squashed: TanhOutputs,
    /// The gates of every batch.
    gates: Vec<Vec<GateUse>>,
    /// The name of the keep gate.
    keeper: Option<&'static str>,
    /// The largest weight of the inputs in the cell state, by unit; empty without a keep gate.
    written: Vec<f64>,
}

/// The outputs of tanh.
#[derive(Clone, Debug, Default)]
struct TanhOutputs {
    values: usize,
    saturated: usize,
    /// Whether a value was outside of ±1, so that it is not an output of tanh.
    beyond: bool,
}

impl UnitActivity {
    /// Adds the activations of one batch.
    pub(super) fn add(&mut self, seen: &Activations) -> Result<()> {
        let Some((field, states)) = seen.states.first() else { return Ok(()) };
        let outputs = within(field, &states.narrow(1, 1, states.dim(1)? - 1)?, &seen.lengths)?;
        let rows = seen.gates.iter().map(|gate| within(gate.name, &gate.values, &seen.lengths));
        let rows: Vec<_> = rows.collect::<Result<_>>()?;
        let of = |name: &str| {
            seen.gates.iter().position(|gate| gate.name == name).map(|index| &rows[index][..])
        };
        let keeps = seen.gates.iter().position(|gate| gate.keeps);

        self.gated |= seen.states.len() > 1 || keeps.is_some();
        self.keeper = keeps.map(|index| seen.gates[index].name);
        self.take_outputs(&outputs);
        if !self.gated || of("o").is_some() {
            self.squashed.take(&outputs, of("o"));
        }
        if let Some(index) = keeps {
            self.take_written(of("i"), &rows[index], &seen.lengths);
        }
        let layers = gates(std::slice::from_ref(seen))?;
        self.gates.extend(layers.iter().filter_map(|layer| layer.gates.value().cloned()));
        Ok(())
    }

    fn take_outputs(&mut self, outputs: &[Vec<f64>]) {
        let size = outputs.first().map_or(0, Vec::len);
        let still = still(&outputs.iter().collect::<Vec<_>>(), size);
        self.still.resize(size, true);
        self.zero.resize(size, true);
        for unit in 0..size {
            self.still[unit] &= still.contains(&unit);
            self.zero[unit] &= outputs.iter().all(|row| row[unit] == 0.0);
        }
    }

    /// w_t = f_t w_{t-1} + i_t from w_0 = 0, with 1 − f without a gate i.
    fn take_written(&mut self, input: Option<&[Vec<f64>]>, keeps: &[Vec<f64>], lengths: &[usize]) {
        self.written.resize(keeps.first().map_or(0, Vec::len), 0.0);
        let mut start = 0;
        for len in lengths {
            let mut w = vec![0.0; self.written.len()];
            for row in start..start + len {
                for (unit, w) in w.iter_mut().enumerate() {
                    let f = keeps[row][unit];
                    *w = f * *w + input.map_or(1.0 - f, |input| input[row][unit]);
                    self.written[unit] = self.written[unit].max(*w);
                }
            }
            start += len;
        }
    }

    /// How the layer keeps its state.
    pub(super) fn recurrence(&self) -> Recurrence {
        if self.gated {
            Recurrence::Gated
        } else {
            Recurrence::Plain
        }
    }

    /// The share of units whose output never changes.
    pub(super) fn dead(&self) -> f64 {
        share(self.still.iter().copied())
    }

    /// Whether most outputs of tanh are saturated.
    pub(super) fn saturated(&self) -> bool {
        self.squashed.finding().is_some()
    }

    /// Each gate's name and mean.
    pub(super) fn gates(&self) -> Vec<(String, f64)> {
        let first = self.gates.first().into_iter().flatten().enumerate();
        let mean = |index: usize| {
            self.gates.iter().map(|gates| gates[index].mean).sum::<f64>() / self.gates.len() as f64
        };
        first.map(|(index, gate)| (gate.name.clone(), mean(index))).collect()
    }

    /// The findings of this layer, given whether its gradient vanishes along time.
    pub(super) fn findings(&self, vanishes: bool) -> Vec<Finding> {
        let squashed = self.squashed.finding().filter(|_| vanishes);
        let forgets = self.forgets().filter(|_| vanishes);
        [self.dead_units(), squashed, forgets, self.shut_input(), self.hides()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn dead_units(&self) -> Option<Finding> {
        let dead = self.dead();
        let units: Vec<_> = (0..self.still.len()).filter(|&unit| self.still[unit]).collect();
        let zero = units.iter().filter(|&&unit| self.zero[unit]).count();
        let shown = units.iter().take(8).map(usize::to_string).collect::<Vec<_>>().join(", ");
        let why = format!(
            "The output of {} of {} units is the same at every step of every example, for {zero} \
            exactly zero: they carry no information, and get no gradient that could revive them. \
            UnitActivity {shown}{}.",
            units.len(),
            self.still.len(),
            if units.len() > 8 { " and others" } else { "" }
        );
        let severity = if dead > MOST { Severity::Severe } else { Severity::Warning };
        let finding = Finding::new(FindingKind::DeadUnits, severity, why)
            .measured("share of units", dead, "1")
            .measured("dead units", units.len() as f64, "units")
            .advice(if 2 * zero > units.len() { Advice::ZeroUnits } else { Advice::ConstantUnits });
        (dead >= DEAD).then_some(finding)
    }

    fn shut_input(&self) -> Option<Finding> {
        let shut = share(self.written.iter().map(|most| *most < SHUT));
        let named = |name: &str| self.gates.iter().flatten().any(|gate| gate.name == name);
        let gate = if named("i") { "i" } else { self.keeper? };
        let why = format!(
            "In {} of the units the inputs of a whole sequence enter the cell state with a weight \
            below {}, where 1 is a candidate's full value: the cell state ignores the inputs, and \
            the weights before the gate get as little of the gradient.",
            percent(shut),
            number(SHUT)
        );
        shut_gate(gate, shut, why).map(|finding| finding.advice(Advice::ShutInputGate))
    }

    /// The finding if most units forget within about a step, by the keep gate.
    fn forgets(&self) -> Option<Finding> {
        let gate = self.keeper?;
        let below = |units: Vec<(f64, bool)>| {
            units.iter().map(|(mean, _)| mean).sum::<f64>() < SHUT * units.len() as f64
        };
        let shut = share(self.by_unit(gate).into_iter().map(below));
        let why = format!(
            "In {} of the units the keep gate {gate} is below {} on average: they forget within \
            about a step, so the gradient vanishes. A keep gate near 0 ends a gradient, one near 1 \
            keeps it.",
            percent(shut),
            number(SHUT)
        );
        shut_gate(gate, shut, why).map(|finding| finding.advice(Advice::ShutKeepGate))
    }

    /// The finding if the output gate of most units never opens.
    fn hides(&self) -> Option<Finding> {
        let never = |units: Vec<(f64, bool)>| units.iter().all(|(_, never)| *never);
        let shut = share(self.by_unit("o").into_iter().map(never));
        let why = format!(
            "In {} of the units the output gate never opens beyond {}: their state does not reach \
            the loss, and the gradient does not reach them.",
            percent(shut),
            number(SHUT)
        );
        shut_gate("o", shut, why).map(|finding| finding.advice(Advice::ShutOutputGate))
    }

    /// For every unit of a gate and every batch, the mean, and whether the gate was always shut.
    fn by_unit(&self, gate: &str) -> Vec<Vec<(f64, bool)>> {
        let batches: Vec<_> = self.gates.iter().flatten().filter(|one| one.name == gate).collect();
        let units = batches.first().map_or(0, |gate| gate.units.len());
        let of = |unit: usize| {
            batches
                .iter()
                .map(|gate| (gate.units[unit].mean, gate.units[unit].left == 1.0))
                .collect()
        };
        (0..units).map(of).collect()
    }
}

impl TanhOutputs {
    /// For an LSTM, with h = o tanh(c), the values h / o; for plain layers h itself.
    fn take(&mut self, outputs: &[Vec<f64>], o: Option<&[Vec<f64>]>) {
        for (row, outputs) in outputs.iter().enumerate() {
            self.beyond |= o.is_some_and(|o| o[row].len() != outputs.len()); // projected
            for (unit, h) in outputs.iter().enumerate() {
                let o = o.and_then(|o| o[row].get(unit)).unwrap_or(&1.0);
                let squashed = h.abs() / o;
                self.values += 1;
                self.saturated += usize::from(squashed > SATURATED);
                self.beyond |= squashed > 1.001;
            }
        }
    }

    fn finding(&self) -> Option<Finding> {
        let saturated = self.saturated as f64 / self.values.max(1) as f64;
        let why = format!(
            "{} of the outputs of tanh are beyond ±{SATURATED}, where its derivative is below \
            0.02: a gradient through them is lost within a few steps.",
            percent(saturated)
        );
        let finding = Finding::new(FindingKind::SaturatedState, Severity::Warning, why)
            .measured("share of values", saturated, "1")
            .advice(Advice::Saturated);
        (saturated > MOST && !self.beyond).then_some(finding)
    }
}

fn shut_gate(gate: &str, shut: f64, why: String) -> Option<Finding> {
    let finding = Finding::new(FindingKind::ShutGate, Severity::Severe, why).measured(
        "share of units",
        shut,
        "1",
    );
    (shut > MOST).then_some(Finding { gate: Some(gate.to_string()), ..finding })
}

/// The share of true values; 0 without values.
fn share(of: impl ExactSizeIterator<Item = bool>) -> f64 {
    let all = of.len().max(1);
    of.filter(|so| *so).count() as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use recurrent_core::{Gate, LayerId};

    /// Two examples, of which the second ends after two of three steps. The padding and the carry
    /// hold values that must not count.
    fn seen(states: &[(&'static str, f64)], gates: &[(&'static str, f64)]) -> Result<Activations> {
        let steps = |level: f64, from: usize| {
            let value = |example: usize, t: usize| {
                match t < from || (example == 1 && t >= from + 2) {
                    true => 77.0,
                    false if from == 1 => level * (1.0 + 1e-4 * t as f64), // a state moves a little
                    false => level,
                }
            };
            let values =
                (0..2).flat_map(|example| (0..3 + from).flat_map(move |t| [value(example, t); 4]));
            Tensor::from_iter(values, &Device::Cpu)?.reshape((2, 3 + from, 4))
        };
        let state = |&(name, level): &(&'static str, f64)| Ok((name, steps(level, 1)?));
        let gate = |&(name, level): &(&'static str, f64)| {
            Ok(Gate { name, values: steps(level, 0)?, keeps: name == "f" })
        };
        Ok(Activations {
            layer_id: LayerId::default(),
            lengths: vec![3, 2],
            states: states.iter().map(state).collect::<Result<_>>()?,
            gates: gates.iter().map(gate).collect::<Result<_>>()?,
        })
    }

    fn kinds(units: &UnitActivity, vanishes: bool) -> Vec<(FindingKind, Option<String>)> {
        units.findings(vanishes).into_iter().map(|finding| (finding.kind, finding.gate)).collect()
    }

    fn lstm(h: f64, i: f64, f: f64, o: f64) -> Result<UnitActivity> {
        let mut units = UnitActivity::default();
        units.add(&seen(&[("h", h), ("c", 1.0)], &[("i", i), ("f", f), ("o", o)])?)?;
        units.add(&seen(&[("h", h + 5e-4), ("c", 1.0)], &[("i", i), ("f", f), ("o", o)])?)?;
        Ok(units)
    }

    #[test]
    fn the_written_weight_is_the_geometric_sum() -> Result<()> {
        // Three steps from an empty cell state: i (1 + f + f²) = i (1 − f³) / (1 − f).
        let units = lstm(0.1, 0.2, 0.9, 0.5)?;
        assert!(units
            .written
            .iter()
            .all(|w| (w - 0.2 * (1.0 - 0.9f64.powi(3)) / 0.1).abs() < 1e-12));
        assert_eq!((units.recurrence(), units.gates().len()), (Recurrence::Gated, 3));
        let means = units.gates();
        assert!(means
            .iter()
            .zip([0.2, 0.9, 0.5])
            .all(|((_, mean), gate)| (mean - gate).abs() < 1e-12));

        let mut coupled = UnitActivity::default();
        coupled.add(&seen(&[("h", 0.1)], &[("f", 0.9)])?)?;
        assert!(coupled.written.iter().all(|w| (w - (1.0 - 0.9f64.powi(3))).abs() < 1e-12));
        Ok(())
    }

    #[test]
    fn shut_gates() -> Result<()> {
        let shut = |name: &str| vec![(FindingKind::ShutGate, Some(name.to_string()))];
        assert_eq!(kinds(&lstm(0.1, 0.5, 0.5, 0.5)?, true), []);
        assert_eq!(
            kinds(&lstm(0.1, 0.03, 0.5, 0.5)?, true),
            shut("i"),
            "0.03 (1 + 0.5 + 0.25) < 0.1"
        );
        assert_eq!(kinds(&lstm(0.1, 0.04, 0.99, 0.5)?, true), [], "little comes in, and stays");
        assert_eq!(kinds(&lstm(0.01, 0.5, 0.5, 0.09)?, true), shut("o"));
        assert_eq!(kinds(&lstm(0.1, 0.5, 0.09, 0.5)?, true), shut("f"));
        assert_eq!(kinds(&lstm(0.1, 0.5, 0.09, 0.5)?, false), [], "nothing is lost by it");
        assert_eq!(
            kinds(&lstm(0.1, 0.5, 0.999, 0.5)?, true),
            [],
            "a forget gate near 1 is no fault"
        );
        Ok(())
    }

    #[test]
    fn states_where_tanh_is_flat() -> Result<()> {
        let saturated = [(FindingKind::SaturatedState, None)];
        assert_eq!(kinds(&lstm(0.4965, 0.5, 0.9, 0.5)?, true), saturated, "h / o = 0.993");
        assert_eq!(kinds(&lstm(0.4855, 0.5, 0.9, 0.5)?, true), []);
        let mut plain = UnitActivity::default();
        for h in [0.995, 0.999, 0.2] {
            plain.add(&seen(&[("h", h)], &[])?)?;
        }
        assert_eq!(
            (kinds(&plain, true), plain.recurrence()),
            (saturated.to_vec(), Recurrence::Plain)
        );
        assert_eq!(kinds(&plain, false), [], "nothing is lost by it");
        plain.add(&seen(&[("h", 1.5)], &[])?)?;
        assert_eq!(kinds(&plain, true), [], "ReLU, or a residual over time");
        Ok(())
    }

    #[test]
    fn units_that_never_change() -> Result<()> {
        let mut units = UnitActivity::default();
        units.add(&seen(&[("h", 0.0)], &[])?)?;
        let [dead] = &units.findings(false)[..] else { panic!("one finding") };
        assert_eq!(
            (dead.kind, dead.severity, dead.value("dead units")),
            (FindingKind::DeadUnits, Severity::Severe, Some(4.0))
        );
        assert!(
            dead.why.contains("4 of 4 units") && dead.why.contains("for 4 exactly zero"),
            "{}",
            dead.why
        );
        let mut moving = seen(&[("h", 0.0)], &[])?;
        let (name, states) = moving.states.remove(0);
        let alive = Tensor::new(&[0f64, 1.0, 0.0, 0.0], &Device::Cpu)?;
        let steps = Tensor::arange(0f64, 4.0, &Device::Cpu)?.reshape((1, 4, 1))?;
        moving.states.push((name, states.broadcast_add(&steps.broadcast_mul(&alive)?)?));
        units.add(&moving)?;
        assert_eq!(units.dead(), 0.75, "one is alive in another batch");
        Ok(())
    }
}
