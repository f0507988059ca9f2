//! The effect of clipping on vanishing gradients, and its limits.
//!
//! The gradient of a weight is a sum over lags. Its long-range share is
//!
//! ```text
//! S(τ) = ‖part of dL/dW from lags >= τ‖ / ‖dL/dW‖
//! ```
//!
//! A backward pass under `Bptt::last(τ)` gives the part from lags below τ. A clip multiplies each
//! element of the gradient by some factor, and each part's element by the same factor.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarMap;
use recurrent::core::init::{linear, seeded};
use recurrent::{Bptt, ForwardContext, HiddenGradClip, Layer, LstmConfig, Rnn, Sequence};
use recurrent_train::{clip_global_norm, clip_per_tensor, clip_value, global_norm, Params};

const STEPS: usize = 24;
const LAGS: [usize; 5] = [1, 2, 5, 12, 20];

struct Case {
    rnn: recurrent::Lstm,
    readout: candle_nn::Linear,
    params: Params,
    xs: Sequence,
}

/// All elements of the gradients, sorted by name.
fn flat(params: &Params, grads: &GradStore) -> Result<Vec<f64>> {
    let of =
        |var| grads.get(var).expect("every weight has a gradient").flatten_all()?.to_vec1::<f64>();
    Ok(params.iter().map(|(_, var)| of(var)).collect::<Result<Vec<_>>>()?.concat())
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Case {
    fn new() -> Result<Self> {
        let map = VarMap::new();
        let vb = seeded(&map, 11, DType::F64, &Device::Cpu);
        let rnn = Rnn::new(3, 7, &LstmConfig::default(), vb.pp("rnn"))?;
        let readout = linear(7, 1, &vb.pp("readout"))?;
        let wave = |n: usize| (1.7 * n as f64).sin() + 0.3 * (0.9 * n as f64).cos();
        let xs = Tensor::from_vec(
            (0..5 * STEPS * 3).map(wave).collect::<Vec<_>>(),
            (5, STEPS, 3),
            &Device::Cpu,
        )?;
        Ok(Self { rnn, readout, params: Params::from_varmap(&map)?, xs: Sequence::new(xs)? })
    }

    fn gradients(&self, flow: Bptt) -> Result<GradStore> {
        let (h, _) = self.rnn.last(&self.xs, None, &ForwardContext::default().bptt(flow))?;
        let answer = candle_core::Module::forward(&self.readout, &h)?;
        ((answer - 2.0)? * 5.0)?.sqr()?.mean_all()?.backward()
    }

    /// S(τ) of the gradient times `factors`, at all of [`LAGS`].
    fn shares(&self, factors: &[f64]) -> Result<Vec<f64>> {
        let full = flat(&self.params, &self.gradients(Bptt::default())?)?;
        let share = |lag| {
            let short = flat(&self.params, &self.gradients(Bptt::last(lag))?)?;
            let long = full
                .iter()
                .zip(short)
                .zip(factors)
                .map(|((full, short), factor)| (full - short) * factor);
            Ok(norm(long) / norm(full.iter().zip(factors).map(|(full, factor)| full * factor)))
        };
        LAGS.into_iter().map(share).collect()
    }
}

/// The largest difference between corresponding elements.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_global_norm_leaves_the_long_range_share_and_the_direction() -> Result<()> {
    type Rule = fn(&Params, &mut GradStore, f64) -> Result<recurrent_train::Clip>;
    let case = Case::new()?;
    let full = flat(&case.params, &case.gradients(Bptt::default())?)?;
    let shares = case.shares(&vec![1.0; full.len()])?;
    assert!(shares.is_sorted_by(|near, far| near > far), "{shares:?}");
    assert!(shares[0] > 0.1 && shares[4] > 0.0, "there is a long range to lose: {shares:?}");

    let rules: [(Rule, bool); 3] =
        [(clip_global_norm, true), (clip_per_tensor, false), (clip_value, false)];
    for (index, (rule, keeps)) in rules.into_iter().enumerate() {
        let mut grads = case.gradients(Bptt::default())?;
        let clip = rule(&case.params, &mut grads, 0.01 * norm(full.iter().copied()))?;
        assert!(clip.clipped() && clip.after < clip.before, "{clip:?}");
        let clipped = flat(&case.params, &grads)?;
        let factors: Vec<_> =
            clipped.iter().zip(&full).map(|(clipped, full)| clipped / full).collect();
        let turned = 1.0
            - dot(&clipped, &full) / (norm(clipped.iter().copied()) * norm(full.iter().copied()));
        let moved = apart(&case.shares(&factors)?, &shares);
        let bounds = if keeps {
            turned.abs() < 1e-14 && moved < 1e-14
        } else {
            turned > 1e-4 && moved > 1e-4
        };
        assert!(bounds, "rule {index}: 1 - cos {turned}, shares moved by {moved}");
    }
    Ok(())
}

/// In contrast, a bound on dL/dh_t within the backward pass changes both.
#[test]
fn a_bound_in_the_backward_pass_changes_the_direction() -> Result<()> {
    let case = Case::new()?;
    let full = case.gradients(Bptt::default())?;
    let bounded = case.gradients(Bptt::clipped(HiddenGradClip::Norm(1e-2)))?;
    let norms = global_norm(&case.params, &full)? * global_norm(&case.params, &bounded)?;
    let turned = 1.0 - dot(&flat(&case.params, &full)?, &flat(&case.params, &bounded)?) / norms;
    assert!(turned > 1e-4, "1 - cos {turned}");
    Ok(())
}
