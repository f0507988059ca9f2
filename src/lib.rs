//! Recurrent networks for candle.
