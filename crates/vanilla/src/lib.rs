//! Vanilla (Elman) recurrent networks for candle: tanh, ReLU and IRNN.
