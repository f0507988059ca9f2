//! Records as tables of columns.

use crate::record::{
    EvalRecord, Generalised, MeasureRecord, ProfileRecord, Records, RunRecord, Status, StepRecord,
};
use serde::Serialize;

/// A table: columns of equal length.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(&'static str, Column)>,
}

/// Values of one kind, `None` where there is none.
pub(super) enum Column {
    Text(Vec<Option<String>>),
    Whole(Vec<Option<u64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
}

/// All tables, one of each kind of record; what a run found on longer sequences is a table of its own.
pub(super) fn all(records: &Records) -> Vec<Table> {
    vec![
        runs(&records.runs),
        steps(&records.steps),
        evals(&records.evals),
        generalisation(&records.runs),
        profiles(&records.profiles),
        measures(&records.measures),
    ]
}

impl Column {
    fn text<T, S: Into<String>>(rows: &[T], value: impl Fn(&T) -> S) -> Self {
        Self::Text(rows.iter().map(|row| Some(value(row).into())).collect())
    }

    fn whole<T>(rows: &[T], value: impl Fn(&T) -> Option<u64>) -> Self {
        Self::Whole(rows.iter().map(value).collect())
    }

    fn real<T>(rows: &[T], value: impl Fn(&T) -> Option<f64>) -> Self {
        Self::Real(rows.iter().map(value).collect())
    }

    fn flag<T>(rows: &[T], value: impl Fn(&T) -> bool) -> Self {
        Self::Flag(rows.iter().map(|row| Some(value(row))).collect())
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    /// The value of a row as CSV has it.
    fn cell(&self, row: usize) -> String {
        match self {
            Self::Text(values) => values[row].as_deref().map(quoted),
            Self::Whole(values) => values[row].map(|value| value.to_string()),
            Self::Real(values) => values[row].map(|value| format!("{value:?}")),
            Self::Flag(values) => values[row].map(|value| value.to_string()),
        }
        .unwrap_or_default()
    }
}

impl Table {
    /// The table by RFC 4180, but with lines that end as everywhere here, in a line feed.
    pub(super) fn csv(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        let mut text = names.join(",") + "\n";
        for row in 0..self.columns.first().map_or(0, |(_, column)| column.len()) {
            let cells: Vec<_> = self.columns.iter().map(|(_, column)| column.cell(row)).collect();
            text += &(cells.join(",") + "\n");
        }
        text
    }
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Something that is a string or null in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) | Err(_) => String::new(),
        Ok(other) => other.to_string(),
    }
}

fn runs(rows: &[RunRecord]) -> Table {
    let status = |run: &RunRecord| match &run.status {
        Status::Finished => "finished",
        Status::Stopped => "stopped",
        Status::Failed(_) => "failed",
    };
    let failure = |run: &RunRecord| match &run.status {
        Status::Failed(why) => Some(why.clone()),
        _ => None,
    };
    let lag = |lag: Option<usize>| lag.map(|lag| lag as u64);
    let method = |run: &RunRecord| Some(run.reference.as_ref()?.name.clone());
    let columns = vec![
        ("variant", Column::text(rows, |run| run.variant.clone())),
        ("seed", Column::whole(rows, |run| Some(run.seed))),
        ("task", Column::text(rows, |run| run.task.clone())),
        ("data", Column::Text(rows.iter().map(|run| run.data.clone()).collect())),
        ("length", Column::whole(rows, |run| Some(run.length as u64))),
        ("longest_lag", Column::whole(rows, |run| Some(run.longest_lag as u64))),
        ("params", Column::whole(rows, |run| Some(run.params as u64))),
        ("hidden", Column::whole(rows, |run| Some(run.hidden as u64))),
        ("layers", Column::whole(rows, |run| Some(run.layers as u64))),
        ("init", Column::text(rows, |run| run.init.clone())),
        ("dtype", Column::text(rows, |run| run.dtype.clone())),
        ("device", Column::text(rows, |run| run.device.clone())),
        ("version", Column::text(rows, |run| run.version.clone())),
        ("batch", Column::whole(rows, |run| Some(run.batch as u64))),
        ("lr", Column::real(rows, |run| Some(run.lr))),
        ("clip", Column::real(rows, |run| run.clip)),
        ("clip_kind", Column::text(rows, |run| word(&run.clip_kind))),
        ("window", Column::text(rows, |run| word(&run.window))),
        ("state_clip", Column::text(rows, |run| word(&run.state_clip))),
        ("readout", Column::text(rows, |run| word(&run.readout))),
        ("omega", Column::real(rows, |run| Some(run.omega))),
        ("orthogonality", Column::real(rows, |run| Some(run.orthogonality))),
        ("status", Column::text(rows, |run| status(run))),
        ("failure", Column::Text(rows.iter().map(failure).collect())),
        ("steps", Column::whole(rows, |run| Some(run.steps))),
        ("max_steps", Column::whole(rows, |run| Some(run.max_steps))),
        ("solved", Column::flag(rows, |run| run.solved)),
        ("steps_to_solve", Column::whole(rows, |run| run.steps_to_solve)),
        ("final_loss", Column::real(rows, |run| Some(run.final_loss))),
        ("accuracy", Column::real(rows, |run| run.accuracy)),
        ("baseline", Column::real(rows, |run| Some(run.baseline))),
        ("reference", Column::Text(rows.iter().map(method).collect())),
        ("reference_loss", Column::real(rows, |run| Some(run.reference.as_ref()?.loss))),
        ("half_life_h_init", Column::real(rows, |run| run.half_life_h_init)),
        ("half_life_h_final", Column::real(rows, |run| run.half_life_h_final)),
        ("half_life_c_init", Column::real(rows, |run| run.half_life_c_init)),
        ("half_life_c_final", Column::real(rows, |run| run.half_life_c_final)),
        ("horizon_init", Column::whole(rows, |run| lag(run.horizon_init))),
        ("horizon_final", Column::whole(rows, |run| lag(run.horizon_final))),
        ("horizon_epsilon_init", Column::whole(rows, |run| lag(run.horizon_epsilon_init))),
        ("horizon_epsilon_final", Column::whole(rows, |run| lag(run.horizon_epsilon_final))),
        ("underflow_lags", Column::whole(rows, |run| Some(run.underflow_lags as u64))),
        ("underflow_from", Column::whole(rows, |run| lag(run.underflow_from))),
        ("grad_ratio_init", Column::real(rows, |run| run.grad_ratio_init)),
        ("grad_ratio_final", Column::real(rows, |run| run.grad_ratio_final)),
        ("clipped_fraction", Column::real(rows, |run| Some(run.clipped_fraction))),
        ("clip_scale", Column::real(rows, |run| run.clip_scale)),
        ("grad_norm", Column::real(rows, |run| run.grad_norm)),
        ("grad_norm_clipped", Column::real(rows, |run| run.grad_norm_clipped)),
        ("seconds", Column::real(rows, |run| Some(run.seconds))),
    ];
    Table { name: "runs", columns }
}

fn steps(rows: &[StepRecord]) -> Table {
    let columns = vec![
        ("variant", Column::text(rows, |step| step.variant.clone())),
        ("seed", Column::whole(rows, |step| Some(step.seed))),
        ("step", Column::whole(rows, |step| Some(step.step))),
        ("loss", Column::real(rows, |step| Some(step.loss))),
        ("lr", Column::real(rows, |step| Some(step.lr))),
        ("grad_norm", Column::real(rows, |step| Some(step.grad_norm))),
        ("grad_norm_clipped", Column::real(rows, |step| Some(step.grad_norm_clipped))),
    ];
    Table { name: "steps", columns }
}

fn evals(rows: &[EvalRecord]) -> Table {
    let columns = vec![
        ("variant", Column::text(rows, |eval| eval.variant.clone())),
        ("seed", Column::whole(rows, |eval| Some(eval.seed))),
        ("step", Column::whole(rows, |eval| Some(eval.step))),
        ("loss", Column::real(rows, |eval| Some(eval.loss))),
        ("accuracy", Column::real(rows, |eval| eval.accuracy)),
    ];
    Table { name: "evals", columns }
}

fn generalisation(runs: &[RunRecord]) -> Table {
    let rows: Vec<(&RunRecord, &Generalised)> = runs
        .iter()
        .flat_map(|run| run.generalisation.iter().map(move |longer| (run, longer)))
        .collect();
    let columns = vec![
        ("variant", Column::text(&rows, |(run, _)| &run.variant)),
        ("seed", Column::whole(&rows, |(run, _)| Some(run.seed))),
        ("length", Column::whole(&rows, |(_, longer)| Some(longer.length as u64))),
        ("loss", Column::real(&rows, |(_, longer)| Some(longer.loss))),
        ("accuracy", Column::real(&rows, |(_, longer)| longer.accuracy)),
        ("baseline", Column::real(&rows, |(_, longer)| Some(longer.baseline))),
    ];
    Table { name: "generalisation", columns }
}

fn profiles(records: &[ProfileRecord]) -> Table {
    let rows: Vec<(&ProfileRecord, usize)> = records
        .iter()
        .flat_map(|record| (0..record.lag.len()).map(move |at| (record, at)))
        .collect();
    let norm = |values: fn(&ProfileRecord) -> &Vec<f64>| {
        Column::real(&rows, |(record, at)| values(record).get(*at).copied())
    };
    let columns = vec![
        ("variant", Column::text(&rows, |(record, _)| &record.variant)),
        ("seed", Column::whole(&rows, |(record, _)| Some(record.seed))),
        ("step", Column::whole(&rows, |(record, _)| Some(record.step))),
        ("last", Column::flag(&rows, |(record, _)| record.last)),
        ("layer", Column::whole(&rows, |(record, _)| Some(record.layer as u64))),
        ("direction", Column::text(&rows, |(record, _)| &record.direction)),
        ("part", Column::text(&rows, |(record, _)| &record.part)),
        ("lag", Column::whole(&rows, |(record, at)| Some(record.lag[*at] as u64))),
        ("median", norm(|record| &record.median)),
        ("q25", norm(|record| &record.q25)),
        ("q75", norm(|record| &record.q75)),
        ("mean", norm(|record| &record.mean)),
        ("zeros", norm(|record| &record.zeros)),
        ("subnormals", norm(|record| &record.subnormals)),
    ];
    Table { name: "profiles", columns }
}

fn measures(records: &[MeasureRecord]) -> Table {
    let rows: Vec<(&MeasureRecord, usize)> = records
        .iter()
        .flat_map(|record| (0..record.values.len().max(1)).map(move |at| (record, at)))
        .collect();
    let columns = vec![
        ("variant", Column::text(&rows, |(record, _)| &record.variant)),
        ("seed", Column::whole(&rows, |(record, _)| Some(record.seed))),
        ("step", Column::whole(&rows, |(record, _)| Some(record.step))),
        ("tier", Column::text(&rows, |(record, _)| word(&record.tier))),
        ("measure", Column::text(&rows, |(record, _)| &record.measure)),
        ("layer", Column::whole(&rows, |(record, _)| record.layer.map(|layer| layer as u64))),
        (
            "direction",
            Column::Text(rows.iter().map(|(record, _)| record.direction.clone()).collect()),
        ),
        ("part", Column::text(&rows, |(record, _)| &record.part)),
        ("axis", Column::text(&rows, |(record, _)| &record.axis)),
        ("at", Column::whole(&rows, |(record, at)| record.at.get(*at).map(|place| *place as u64))),
        ("value", Column::real(&rows, |(record, at)| record.values.get(*at).copied())),
        ("note", Column::Text(rows.iter().map(|(record, _)| record.note.clone()).collect())),
    ];
    Table { name: "measures", columns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::task::Reference;

    #[test]
    fn tables_have_the_records() {
        let mut records = sample::records();
        records.runs[0].init = "a, \"b\"".to_owned();
        records.runs[0].reference = Some(Reference { name: "5-gram".to_owned(), loss: 1.5 });
        let longer = |length, loss| Generalised { length, loss, accuracy: None, baseline: 0.5 };
        records.runs[0].generalisation = vec![longer(200, 0.25), longer(400, f64::INFINITY)];
        records.steps[0].loss = f64::NAN;
        records.steps[1].loss = f64::INFINITY;
        let all = all(&records);
        for table in &all {
            let rows = table.columns[0].1.len();
            assert!(table.columns.iter().all(|(_, column)| column.len() == rows), "{}", table.name);
            assert_eq!(table.csv().lines().count(), rows + 1, "{}", table.name);
        }
        assert!(all[0].csv().contains(",\"a, \"\"b\"\"\","));
        assert!(all[0].csv().contains(",5-gram,1.5,"));
        assert_eq!(
            all[3].csv(),
            "variant,seed,length,loss,accuracy,baseline\nvanilla,1,200,0.25,,0.5\nvanilla,1,400,inf,,0.5\n"
        );
        let steps = all[1].csv();
        let lines: Vec<&str> = steps.lines().collect();
        assert_eq!(lines[0], "variant,seed,step,loss,lr,grad_norm,grad_norm_clipped");
        assert!(lines[1].starts_with("vanilla,1,1,NaN,0.005,"), "{}", lines[1]);
        assert!(lines[2].starts_with("vanilla,1,2,inf,"), "{}", lines[2]);
        let third: f64 =
            lines[3].split(',').nth(3).and_then(|loss| loss.parse().ok()).expect("a loss");
        assert_eq!(third.to_bits(), records.steps[2].loss.to_bits(), "no digit is lost");
        assert_eq!(
            all[4].columns[0].1.len(),
            records.profiles.iter().map(|profile| profile.lag.len()).sum::<usize>()
        );
    }
}
