//! GRU for candle.
