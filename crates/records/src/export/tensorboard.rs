//! The content of an event file for one run.

use super::events::Events;
use crate::record::{ProfileRecord, Records, RunRecord};

/// The event file of a run that began at `began`, in seconds since 1970.
pub(super) fn file(records: &Records, run: &RunRecord, began: f64) -> Vec<u8> {
    let time =
        |step: u64| began + run.outcome.seconds * step as f64 / run.outcome.steps.max(1) as f64;
    let mut events = Events::new(began);
    let own =
        |variant: &str, seed: u64| variant == run.config.model.variant && seed == run.config.seed;
    for step in records.steps.iter().filter(|step| own(&step.variant, step.seed)) {
        let scalars = [
            ("training/loss", step.loss),
            ("training/gradient norm", step.grad_norm),
            ("training/gradient norm, clipped", step.grad_norm_clipped),
            ("training/learning rate", step.lr),
        ];
        scalars
            .into_iter()
            .for_each(|(tag, value)| events.scalar(time(step.step), step.step, tag, value));
    }
    for eval in records.evals.iter().filter(|eval| own(&eval.variant, eval.seed)) {
        events.scalar(time(eval.step), eval.step, "held-out/loss", eval.loss);
        if let Some(accuracy) = eval.accuracy {
            events.scalar(time(eval.step), eval.step, "held-out/accuracy", accuracy);
        }
    }
    for profile in records.profiles.iter().filter(|profile| own(&profile.variant, profile.seed)) {
        let place = place(profile);
        let finite: Vec<(usize, f64)> =
            profile.lag.iter().copied().zip(profile.median.iter().copied()).collect();
        let finite: Vec<_> = finite
            .into_iter()
            .filter(|(lag, norm)| *lag < run.config.task.length && norm.is_finite())
            .collect();
        let (bounds, norms): (Vec<f64>, Vec<f64>) =
            finite.iter().map(|&(lag, norm)| (lag as f64 + 0.5, norm)).unzip();
        events.histogram(
            time(profile.step),
            profile.step,
            &format!("gradient by lag/{place}"),
            &bounds,
            &norms,
        );
        for (moment, wanted) in
            [("start", profile.step == 0), ("end", profile.last && profile.step > 0)]
        {
            for &(lag, norm) in finite.iter().filter(|_| wanted) {
                events.scalar(
                    time(profile.step),
                    lag as u64,
                    &format!("profile at the {moment}, step is lag/{place}"),
                    norm,
                );
            }
        }
    }
    events.into_bytes()
}

/// `h, layer 1`, with the direction if that is backward.
fn place(profile: &ProfileRecord) -> String {
    let reverse = if profile.direction == "reverse" { " reverse" } else { "" };
    format!("{}, layer {}{reverse}", profile.part, profile.layer + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// The records of the frames.
    fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            frames.push(&rest[4..4 + length]);
            bytes = &rest[8 + length..];
        }
        frames
    }

    #[test]
    fn the_file_has_every_record_of_the_run() {
        let records = sample::records();
        let run = &records.runs[0];
        let bytes = file(&records, run, 1.7e9);
        let own = |variant: &str, seed: u64| {
            variant == run.config.model.variant && seed == run.config.seed
        };
        let steps = records.steps.iter().filter(|step| own(&step.variant, step.seed)).count();
        let evals = records.evals.iter().filter(|eval| own(&eval.variant, eval.seed)).count();
        let profiles: Vec<_> =
            records.profiles.iter().filter(|p| own(&p.variant, p.seed)).collect();
        let by_lag: usize =
            profiles.iter().filter(|p| p.step == 0 || p.last).map(|p| p.lag.len() - 1).sum();
        assert!(steps > 0 && evals > 0 && by_lag > 0);
        assert_eq!(frames(&bytes).len(), 1 + 4 * steps + evals + profiles.len() + by_lag);
        assert!(frames(&bytes)[0].ends_with(b"brain.Event:2"));
    }
}
