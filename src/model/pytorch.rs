//! The configuration of a PyTorch module, from the shapes of its weights.

use crate::{CellKind, Direction, RnnConfig};
use candle_core::{bail, Result};
use recurrent_weights::Tensors;

impl RnnConfig {
    /// The layers under `prefix` in the state dict of a `torch.nn.RNN`, `LSTM` or `GRU`, with their
    /// input size and hidden size.
    ///
    /// `cell` gives the family, since several families may have the same shapes: vanilla network,
    /// LSTM or GRU. It also gives the options that do not change shapes, such as the nonlinearity;
    /// its biases and projection are set from the tensors. A state dict does not contain the rate
    /// of dropout between layers, which stays 0.
    ///
    /// # Errors
    /// If there is no `weight_ih_l0` under `prefix`, `cell` is of another family, or the shapes are
    /// those of another family.
    pub fn of_pytorch(
        mut cell: CellKind,
        found: &Tensors,
        prefix: &str,
    ) -> Result<(Self, (usize, usize))> {
        let get = |name: &str| found.get(&format!("{prefix}{name}"));
        let Some(weight_ih) = get("weight_ih_l0") else {
            let others: Vec<_> =
                found.keys().filter_map(|name| name.strip_suffix("weight_ih_l0")).collect();
            bail!("prefix {prefix:?}: expected 'weight_ih_l0' under it, found it under {others:?}")
        };
        let Some(weight_hh) = get("weight_hh_l0") else {
            bail!("prefix {prefix:?}: expected 'weight_hh_l0' under it")
        };
        let (rows, input) = weight_ih.dims2()?;
        let (_, seen) = weight_hh.dims2()?;
        let projected = get("weight_hr_l0").map(|tensor| tensor.dims2()).transpose()?;
        let units = projected.map_or(seen, |(_, hidden)| hidden);
        let bias = get("bias_ih_l0").is_some();
        let gates: usize = match &mut cell {
            CellKind::Vanilla(config) => {
                config.bias = bias;
                1
            }
            CellKind::Gru(config) => {
                config.bias = bias;
                3
            }
            CellKind::Lstm(config) => {
                (config.bias, config.proj) = (bias, projected.map(|(proj, _)| proj));
                4
            }
            _ => bail!("cell: expected a vanilla network, an lstm or a gru, as PyTorch has them"),
        };
        if gates.checked_mul(units) != Some(rows) {
            let whose = match rows.checked_div(units).filter(|gates| gates * units == rows) {
                Some(1) => ", as in an RNN",
                Some(3) => ", as in a GRU",
                Some(4) => ", as in an LSTM",
                _ => "",
            };
            bail!(
                "'{prefix}weight_ih_l0': expected {gates} rows for each of {units} units, found \
                {rows}{whose}"
            )
        }
        let layers =
            (0..).take_while(|layer| get(&format!("weight_ih_l{layer}")).is_some()).count();
        let both = get("weight_ih_l0_reverse").is_some();
        let directions = if both { Direction::Bidirectional } else { Direction::Forward };
        Ok((Self { layers, direction: directions, ..Self::new(cell) }, (input, units)))
    }
}
