//! The agreement between the gradients of different examples, and of different batches.

use crate::objective::NamedGradients;
use crate::state_gradients::{name, StateGradients};
use crate::vector::{cosine, fraction, norm};
use crate::Objective;
use candle_core::{bail, Result};
use recurrent_core::{Bptt, GradientTrace, LayerId, Record};
use serde::{Deserialize, Serialize};

/// The noise of the gradient, from several batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientNoise {
    /// The noise of dL/ds_{T-k}, for each layer, direction and field.
    pub states: Vec<StateNoise>,
    /// The agreement of the batches' gradients over all weights.
    pub all: Option<f64>,
    /// The agreement weight by weight, by name.
    pub weights: Vec<(String, Option<f64>)>,
}

/// The noise of the gradient of one field of one layer's state, lag by lag.
///
/// ```text
/// g_e,k = dL_e/ds_{T-k} of example e,  m_k = mean_e g_e,k
/// SNR(k) = ‖m_k‖ / sqrt(mean_e ‖g_e,k − m_k‖²)
/// agreement(k) = mean over pairs of batches of cos(m_k of one, m_k of the other)
/// ```
///
/// It shows whether the gradients of the examples at lag k agree or cancel. (Cockpit, Schneider,
/// Dangel and Hennig 2021, arXiv:2102.06604, has a signal-to-noise ratio of the gradients of the
/// weights.)
///
/// Its limits:
///
/// - Examples without any agreement still have a mean, with an SNR of about 1/√n for n examples
///   ([`NoiseLag::floor`]). With examples of unequal lengths n falls with the lag and the floor
///   rises, so compare SNR / floor. The cosine of two independent directions scatters around 0 by
///   about 1/√size.
/// - The norms of m_k and m_{k+1} belong to different states and do not compare.
/// - Both numbers are independent of the norm. A vanished gradient may agree perfectly.
/// - The optimiser sees products of these gradients with inputs and states, summed over lags.
///   Gradients of the weights may agree where those of the states do not; see
///   [`GradientNoise::all`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateNoise {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Which field of the state.
    pub field: String,
    /// By lag, 0 to the length of the longest example.
    pub lags: Vec<NoiseLag>,
}

/// The noise at one lag.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseLag {
    /// The number of examples, of all batches, that have a state there.
    pub examples: usize,
    /// SNR over all of them; `None` for fewer than two examples, or without deviation.
    pub snr: Option<f64>,
    /// 1/√examples: about the SNR of gradients without any agreement.
    pub floor: f64,
    /// The mean cosine between the mean gradients of two batches; `None` if no pair of batches has
    /// a cosine.
    pub agreement: Option<f64>,
}

/// The noise of the gradient over `batches`: one network on several batches. See [`StateNoise`].
///
/// # Errors
/// If there are fewer than two batches, or they do not have the same layers and weights, and those
/// of the network.
pub fn gradient_noise(batches: &[Objective]) -> Result<GradientNoise> {
    if batches.len() < 2 {
        bail!("gradient noise: expected at least 2 batches, got {}", batches.len())
    }
    let (mut traces, mut weights) = (Vec::new(), Vec::new());
    for batch in batches {
        let backward = batch.backward(Bptt::default(), Record::Gradients)?;
        traces.push(backward.traces);
        weights.push(backward.weights);
    }
    let shapes = |gradients: &NamedGradients| -> Vec<_> {
        gradients.0.iter().map(|(name, values)| (name.clone(), values.len())).collect()
    };
    if let Some(other) = weights.iter().map(shapes).find(|other| *other != shapes(&weights[0])) {
        bail!(
            "gradient noise: expected every batch to have the weights {:?}, got {other:?}",
            shapes(&weights[0])
        )
    }
    let flat: Vec<_> = weights.iter().map(NamedGradients::flat).collect();
    let by_name = weights[0].0.iter().enumerate().map(|(index, (name, _))| {
        let values: Vec<_> = weights.iter().map(|gradients| gradients.0[index].1.clone()).collect();
        (name.clone(), agreement(&values))
    });
    Ok(GradientNoise {
        states: state_noise(&traces)?,
        all: agreement(&flat),
        weights: by_name.collect(),
    })
}

/// The noise of the gradients of the states, from the traces of each batch, with their gradients;
/// see [`StateNoise`].
///
/// # Errors
/// If there is no batch, their traces are not of the same layers, directions and fields, or have no
/// gradients, and those of candle.
pub fn state_noise(batches: &[Vec<GradientTrace>]) -> Result<Vec<StateNoise>> {
    let keys = |traces: &Vec<GradientTrace>| traces.iter().map(name).collect::<Vec<_>>();
    let Some(first) = batches.first() else {
        bail!("gradient noise: expected at least 1 batch, got none")
    };
    if let Some(other) = batches.iter().map(keys).find(|other| *other != keys(first)) {
        bail!(
            "gradient noise: expected every batch to have the traces {:?}, got {other:?}",
            keys(first)
        )
    }
    (0..first.len())
        .map(|index| of_field(batches.iter().map(|traces| &traces[index]).collect()))
        .collect()
}

fn of_field(traces: Vec<&GradientTrace>) -> Result<StateNoise> {
    let gradients =
        traces.iter().map(|trace| StateGradients::of(trace)).collect::<Result<Vec<_>>>()?;
    if let Some(other) = gradients.iter().find(|other| other.size != gradients[0].size) {
        bail!(
            "gradient noise of {}: expected size {}, got {}",
            name(traces[0]),
            gradients[0].size,
            other.size
        )
    }
    let lags = traces.iter().map(|trace| trace.lags()).max().unwrap_or(0);
    Ok(StateNoise {
        layer_id: traces[0].layer_id,
        field: traces[0].field.to_string(),
        lags: (0..lags).map(|lag| at(&gradients, lag)).collect(),
    })
}

fn at(batches: &[StateGradients], lag: usize) -> NoiseLag {
    let own = |batch: &StateGradients| -> Vec<Vec<f64>> {
        let examples = batch.batch() as f64; // the loss is a mean over them
        batch.lag(lag).map(|row| row.iter().map(|value| value * examples).collect()).collect()
    };
    let rows: Vec<_> = batches.iter().map(own).collect();
    let means: Vec<_> =
        rows.iter().filter(|rows| !rows.is_empty()).map(|rows| mean(rows)).collect();
    let all = rows.concat();
    NoiseLag {
        examples: all.len(),
        snr: snr(&all),
        floor: (all.len() as f64).sqrt().recip(),
        agreement: agreement(&means),
    }
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut mean = vec![0.0; rows[0].len()];
    for row in rows {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / rows.len() as f64);
    }
    mean
}

fn snr(rows: &[Vec<f64>]) -> Option<f64> {
    if rows.len() < 2 {
        return None;
    }
    let mean = mean(rows);
    let away = |row: &Vec<f64>| {
        row.iter().zip(&mean).map(|(value, mean)| value - mean).collect::<Vec<_>>()
    };
    let deviations: Vec<_> = rows.iter().flat_map(away).collect();
    fraction(norm(&mean), norm(&deviations) / (rows.len() as f64).sqrt())
}

/// The mean cosine over all pairs that have a cosine.
fn agreement(vectors: &[Vec<f64>]) -> Option<f64> {
    let pairs = (0..vectors.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let cosines: Vec<_> = pairs.filter_map(|(a, b)| cosine(&vectors[a], &vectors[b])).collect();
    fraction(cosines.iter().sum(), cosines.len() as f64)
}
