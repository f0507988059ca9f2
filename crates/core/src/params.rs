//! The weights of a cell by name: [`Parameters`], which `#[derive(Params)]` implements.

use candle_core::{bail, Result, Tensor};
use std::vec::IntoIter;

/// The weights of a cell, or of a part of one, by name. Derive it with [`crate::Params`]:
///
/// ```
/// use candle_core::Tensor;
/// use recurrent_core::{Parameters, Params};
///
/// #[derive(Clone, Params)]
/// struct Elman {
///     weight_ih: Tensor,
///     weight_hh: Tensor,
///     bias: Option<Tensor>,
/// }
/// ```
///
/// Names are those of a single cell: `weight_ih`. [`crate::Rnn`] appends the layer and the
/// direction: `weight_ih_l0`.
pub trait Parameters: Sized {
    /// Appends the weights by name, always in the same order.
    fn append_params(&self, params: &mut Vec<(String, Tensor)>);

    /// The same value over the next tensors of `params`.
    ///
    /// # Errors
    /// If there are too few.
    fn replace_params(&self, params: &mut IntoIter<Tensor>) -> Result<Self>;
}

/// A field of a struct that derives [`crate::Params`]: a tensor, an optional field, or a struct
/// that derives it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no weights",
    label = "expected `Tensor`, `Option<Tensor>` or a type with `#[derive(Params)]`",
    note = "mark a field without weights with `#[param(skip)]`"
)]
pub trait ParamField: Sized {
    /// Appends the weights of the field `name`.
    fn append(&self, name: &str, params: &mut Vec<(String, Tensor)>);

    /// The same field over the next tensors of `params`.
    ///
    /// # Errors
    /// If there are too few.
    fn replaced(&self, params: &mut IntoIter<Tensor>) -> Result<Self>;
}

impl ParamField for Tensor {
    fn append(&self, name: &str, params: &mut Vec<(String, Tensor)>) {
        params.push((name.to_string(), self.clone()));
    }

    fn replaced(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        match params.next() {
            Some(tensor) => Ok(tensor),
            None => bail!("params: expected as many tensors as the cell has weights, got fewer"),
        }
    }
}

impl<T: ParamField> ParamField for Option<T> {
    fn append(&self, name: &str, params: &mut Vec<(String, Tensor)>) {
        if let Some(field) = self {
            field.append(name, params);
        }
    }

    fn replaced(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        self.as_ref().map(|field| field.replaced(params)).transpose()
    }
}

impl<T: ParamField> ParamField for Vec<T> {
    fn append(&self, name: &str, params: &mut Vec<(String, Tensor)>) {
        self.iter().for_each(|field| field.append(name, params));
    }

    fn replaced(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        self.iter().map(|field| field.replaced(params)).collect()
    }
}

impl<T: Parameters> ParamField for T {
    fn append(&self, _name: &str, params: &mut Vec<(String, Tensor)>) {
        self.append_params(params);
    }

    fn replaced(&self, params: &mut IntoIter<Tensor>) -> Result<Self> {
        self.replace_params(params)
    }
}
