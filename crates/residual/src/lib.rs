//! Residual connections over depth and over time for recurrent networks on candle.
