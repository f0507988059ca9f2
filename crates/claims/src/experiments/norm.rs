use super::{bias, chrono, gru, lstm, orthogonal, plain, vanilla, ClaimTest, TestOutcome};
use crate::error::Result;
use crate::experiment::{Arm, Experiment, Unconverged};
use crate::finding::{Citation, Claim, ClaimVerdict, Measured};
use crate::numbers::{mean, median};
use recurrent_report::significant;
use recurrent_tasks as tasks;

pub(super) fn experiment() -> ClaimTest {
    ClaimTest {
        claim: Claim {
            id: "weight-gradient-norm",
            claim: "A small gradient norm of the weights means that gradients vanish.",
            prediction: "Of two networks, the one with the smaller norm of dL/dW has the smaller \
                share of it from far back.",
            experiment: "Eight networks of 64 units (tanh plain and orthogonal, LSTM with forget \
                biases -2, 0, 3 and chrono, GRU plain and chrono) on the adding problem, T = 100, \
                before training, every seed: the global norm of dL/dW, and the share of dL/dW from \
                the first half of the sequence; Spearman's rank correlation over the networks, by \
                seed.",
            rule:
                "Refuted if one network of a pair has the smaller norm and at least ten times the \
                share, at every seed; else supported if the whole interval of the mean correlation \
                over seeds lies above 0.5; else not decided.",
            literature: const {
                &[Citation::remembered(
                    "Pascanu, Mikolov and Bengio 2013",
                    "dL/dW is a sum over lags; to vanish means that the norm of its long-term \
                 components goes to zero exponentially fast",
                )]
            },
        },
        run,
    }
}

fn run(experiment: &Experiment) -> Result<TestOutcome> {
    let task = tasks::by_name("adding", Some(if experiment.quick { 40 } else { 100 }), None)?;
    let arms = [
        Arm::new("tanh", vanilla(plain())),
        Arm::new("tanh-orthogonal", vanilla(orthogonal())),
        Arm::new("lstm-bias-2", lstm(bias(-2.0))),
        Arm::new("lstm", lstm(plain())),
        Arm::new("lstm-bias3", lstm(bias(3.0))),
        Arm::new("lstm-chrono", lstm(chrono())),
        Arm::new("gru", gru(plain())),
        Arm::new("gru-chrono", gru(chrono())),
    ];
    let mut measured = Vec::new();
    let mut points = vec![Vec::new(); experiment.seeds as usize]; // by seed: (norm, share)
    for arm in &arms {
        let starts = experiment.starts(arm, task.as_ref(), 64)?;
        starts
            .iter()
            .zip(&mut points)
            .for_each(|(start, points)| points.push((start.norm, start.share)));
        let norms: Vec<_> = starts.iter().map(|start| start.norm).collect();
        let shares: Vec<_> = starts.iter().map(|start| start.share).collect();
        measured.push(median(format!("norm of dL/dW, {}", arm.name), "", &norms));
        measured.push(median(format!("share from the first half, {}", arm.name), "", &shares));
    }
    let correlations: Vec<_> = points.iter().map(|points| spearman(points)).collect();
    let rank = mean(
        "rank correlation of norm and share over the networks, Spearman's ρ",
        "",
        &correlations,
    );
    let CounterExample { times, small, large } = counter_example(&points);
    let numbers =
        format!("Spearman's ρ is {:.2} ({:.2} to {:.2})", rank.value, rank.low, rank.high);
    let verdict = rule(times, &rank);
    let because = match verdict {
        ClaimVerdict::Refuted => format!(
            "{} has a smaller norm of dL/dW than {} at every seed, and at least {} times the share \
             from the first half; {numbers}",
            arms[small].name,
            arms[large].name,
            significant(times, 3)
        ),
        _ => numbers,
    };
    measured.push(rank);
    Ok(TestOutcome { measured, verdict, because, runs: Unconverged::default() })
}

/// The largest ratio of shares, at every seed, of a pair whose first network has the smaller norm;
/// and the mean rank correlation.
pub(super) fn rule(times: f64, rank: &Measured) -> ClaimVerdict {
    if times >= 10.0 {
        ClaimVerdict::Refuted
    } else if rank.above(0.5) {
        ClaimVerdict::Supported
    } else {
        ClaimVerdict::Open
    }
}

/// The pair of networks that contradicts the claim most.
pub(super) struct CounterExample {
    /// The smallest ratio, over the seeds, of the share of `small` to that of `large`; 0 if no pair
    /// has its norms in the same order at every seed.
    pub(super) times: f64,
    pub(super) small: usize,
    pub(super) large: usize,
}

/// Searches all pairs of networks, given norm and share by seed and network.
pub(super) fn counter_example(points: &[Vec<(f64, f64)>]) -> CounterExample {
    let networks = points.first().map_or(0, Vec::len);
    let mut most = CounterExample { times: 0.0, small: 0, large: 0 };
    for (small, large) in
        (0..networks).flat_map(|small| (0..networks).map(move |large| (small, large)))
    {
        let of_seed = |points: &Vec<(f64, f64)>| match points[small].0 < points[large].0 {
            true => points[small].1 / points[large].1,
            false => 0.0,
        };
        let times = points.iter().map(of_seed).fold(f64::INFINITY, f64::min);
        if times > most.times {
            most = CounterExample { times, small, large };
        }
    }
    most
}

/// Spearman's ρ of pairs without ties: Pearson's correlation of their ranks.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let rank = |of: fn(&(f64, f64)) -> f64, value: f64| {
        pairs.iter().filter(|pair| of(pair) < value).count() as f64
    };
    let n = pairs.len() as f64;
    let apart =
        |pair: &(f64, f64)| (rank(|pair| pair.0, pair.0) - rank(|pair| pair.1, pair.1)).powi(2);
    1.0 - 6.0 * pairs.iter().map(apart).sum::<f64>() / (n * (n * n - 1.0))
}
