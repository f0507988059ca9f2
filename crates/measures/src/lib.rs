//! Measures of the gradient through time, from an ordinary backward pass.
//!
//! A [`Profile`] comes out of a [`recurrent_core::GradientTrace`]; all other measures are computed
//! from its norms.
//!
//! | measure | formula | function |
//! |---|---|---|
//! | profile | g(k) = ‖dL/dh_{T-k}‖ against the lag k | [`Profile::from_trace`] |
//! | first/last ratio | R = g(T-1) / g(0) | [`ratio`] |
//! | decay | least squares ln g(k) = a - ρ k | [`decay`] |
//! | half-life | ln 2 / ρ | [`Fit::half_life`] |
//! | horizon | max { k : g(k) / g(0) >= ε } | [`horizon`] |
//! | underflow | lags at which an element is zero or subnormal | [`Underflow::from_profile`] |
//! | long-range share | S(τ) = ‖Σ_{k >= τ} (dL/dW)_k‖ / ‖dL/dW‖, and its cosine | [`long_range_share`] |
//! | truncation bias | ‖g_TBPTT - g_full‖ / ‖g_full‖, and its cosine | [`truncation()`] |
//! | carousel | Π f_t, and the gradient along this product alone, against dL/dc_{T-k} | [`carousel()`] |
//! | f32 beside f64 | elements that are zero or subnormal in f32 and normal in f64, by lag | [`shadow()`] |
//! | gradient noise | ‖m‖ / sqrt(mean ‖g - m‖²) by lag; cosines between batches | [`gradient_noise`] |
//! | rank of the states | (Σλ)² / Σλ², exp of the entropy, saturation; constant units | [`rank()`] |
//! | depth against time | norms, ratios and half-lives layer by layer | [`depth()`] |
//! | gate saturation, time constants | shares of v < 0.1 and v > 0.9; 1/(1 - E f) | [`gates()`] |
//!
//! # Dynamics
//!
//! These examine a layer itself, step by step, along a [`Trajectory`]. They need neither a loss nor
//! a recorder.
//!
//! | measure | formula | function |
//! |---|---|---|
//! | Jacobian of a step | J_t = ∂s_{t+1}/∂s_t | [`Trajectory::jacobian`] |
//! | profile of any layer | a chain of vector-Jacobian products | [`Trajectory::traces`] |
//! | temporal Jacobian | σ_max, σ_min, κ, (1/n) tr(J Jᵀ) of J_{T-1} ··· J_{T-k} | [`temporal_jacobian`] |
//! | Lyapunov spectrum | Q_{t+1} R_{t+1} = J_t Q_t, λ_i = mean of ln abs(R_ii) | [`lyapunov`] |
//! | condition number over T | κ ≈ exp(T (λ_1 − λ_n)) | [`Lyapunov::log10_condition`] |
//! | Ω | the deviation of steps from keeping the gradient's norm | [`omega`]; in training [`omega_penalty`] |
//! | spectra of recurrent blocks | ρ(W), σ_max, σ_min, κ | [`block_spectra`] |
//! | memory capacity | Σ_k r²(u_{t-k}, w · h_t) | [`memory_capacity`] |
//! | sensitivity | ‖dh_t/dθ‖ | [`sensitivity`] |
//!
//! [`diagnosis`] combines them for any network, and suggests changes.
//!
//! dL/dc_t is the partial derivative with h_t held fixed. Under a loss that reads h_T alone, that
//! of c_T is zero by construction, so ratios for c take lag 1 as their reference:
//! [`Profile::reference`].

#![forbid(unsafe_code)]

mod decay;
pub mod diagnosis;
mod horizon;
pub mod json;
mod profile;
pub mod statistics;
pub mod text;
mod underflow;

pub use decay::{decay, window, Fit};
pub use horizon::{horizon, ratio, HORIZON};
pub use profile::Profile;
pub use underflow::Underflow;

// The dynamics of a layer.
mod jacobian;
mod lyapunov;
mod memory_capacity;
mod omega;
mod sensitivity;
mod spectral;
mod state_vector;
mod trajectory;

pub use jacobian::{temporal_jacobian, temporal_jacobian_of_example, Magnitude, SingularValues};
pub use lyapunov::{lyapunov, lyapunov_of_example, Lyapunov};
pub use memory_capacity::{memory_capacity, CapacityConfig, CapacityCurve, InputDrive};
pub use omega::{gradients_from_traces, omega, omega_penalty, Omega};
pub use sensitivity::{sensitivity, Sensitivity, SensitivityMethod};
pub use spectral::{block_spectra, BlockSpectrum};
pub use state_vector::{flatten, pieces, unflatten, StateSlice};
pub use trajectory::{Derivative, Trajectory};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod applicable;
mod carousel;
mod depth;
mod gates;
mod noise;
mod objective;
mod rank;
mod shadow;
mod share;
mod state_gradients;
mod truncation;
mod vector;

pub use applicable::Applicable;
pub use carousel::{carousel, Carousel, LayerCarousel};
pub use depth::{depth, AlongDepth, DepthProfile, LayerDepth};
pub use gates::{gates, GateUse, LayerGates, Retention, TimeConstants, UnitUse, LEFT, RIGHT};
pub use noise::{gradient_noise, state_noise, GradientNoise, NoiseLag, StateNoise};
pub use objective::{LossReads, Objective};
pub use rank::{rank, Dimensionality, Rank, HELD, STILL};
pub use shadow::{shadow, FirstLags, Shadow, ShadowLag};
pub use share::{long_range_share, GradientPart, LagShare, LongRange};
pub use truncation::{truncation, Deviation, TruncationBias};
