//! The thresholds of the findings.

/// The share of the gradient that a network needs at the longest lag of the data:
/// [`HORIZON`](crate::HORIZON), a thousandth.
///
/// With less, the last inputs move the weights a thousand times as far as the inputs at that lag,
/// and no learning rate serves both.
pub const VANISHED: f64 = crate::HORIZON;

/// The share below which the gradient is lost: the machine epsilon of f32. A smaller contribution
/// no longer changes a sum with the gradient of the last steps, so no optimiser can restore it.
pub const LOST: f64 = f32::EPSILON as f64;

/// The largest allowed growth along time, relative to the gradient at the loss: a thousand.
///
/// The inverse of [`VANISHED`]. An LSTM whose forget bias is a little too large doubles its
/// gradient in 30 to 60 steps; over 200 steps that is a factor of ten to a hundred, and it trains.
pub const EXPLODED: f64 = 1e3;

/// The growth that makes an explosion severe: the inverse of [`LOST`]. The last steps no longer
/// change the sum.
pub const OVERWHELMED: f64 = 1.0 / LOST;

/// The share of the top layer's gradient that each layer needs, over all steps: a thousandth as for
/// [`VANISHED`]. Its inverse is the largest allowed growth.
///
/// At initialisation, neighbouring layers differ by a factor of 0.3 (LSTM, forget bias 1) to 0.67
/// (tanh), with PyTorch's initialisation otherwise. That makes a thousandth in 7 to 18 layers.
pub const DEPTH: f64 = 1e-3;

/// The norm up to which a gradient counts as tiny, so that zeros at larger lags count as underflow:
/// 1e-30, as in [`decay`](crate::decay). The range of f32 ends at 1e-38 (zero below 1e-45); a
/// gradient that is cut off was not tiny before.
pub const TINY: f64 = 1e-30;

/// The share of elements that must be zero or subnormal for a lag to count as underflowed: half of
/// them.
///
/// ReLU makes single zeros by construction.
pub const UNDERFLOWED: f64 = 0.5;

/// The value below which a gate is shut: [`LEFT`](crate::LEFT), 0.1.
///
/// For an output gate this is its largest value over steps. For an input gate it is the largest
/// weight of the inputs in the cell state, w_t = f_t w_{t-1} + i_t with w_0 = 0: chrono biases make
/// i small on purpose, while f keeps inputs for long.
pub const SHUT: f64 = crate::LEFT;

/// The absolute value beyond which an output of tanh is saturated: there the derivative, 1 − 0.99²,
/// is 0.02.
pub const SATURATED: f64 = 0.99;

/// The share of shut gates, or of saturated values, above which the layer has that fault: half.
/// Trained networks use some of their gates as switches.
pub const MOST: f64 = 0.5;

/// The standard deviation of a unit's output over all examples and steps up to which it is dead:
/// [`STILL`](crate::STILL), a millionth of the layer's root mean square, which is the rounding of
/// f32.
pub const STILL: f64 = crate::STILL;

/// The share of dead units that makes a finding: a quarter. With positive inputs, a tenth to a
/// fifth of ReLU units are dead at the start, and the network trains. The table of layers in the
/// report has the share of every layer.
pub const DEAD: f64 = 0.25;
