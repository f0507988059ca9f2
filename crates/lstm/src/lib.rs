//! LSTM for candle, with forget-gate bias and chrono initialisation.
