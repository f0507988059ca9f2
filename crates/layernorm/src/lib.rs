//! Layer-normed LSTM and GRU for candle.
