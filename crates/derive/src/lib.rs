//! The derive macro of `recurrent_core::Params`.
//!
//! Its examples are compiled with the crate `recurrent`: a dependency of this crate's own tests
//! on `recurrent-core` would compile candle a second time, for the host.

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens};
use proc_macro_crate::{crate_name, FoundCrate};
use quote::{format_ident, quote};
use syn::{parse_macro_input, spanned::Spanned, Data, DeriveInput, Error, Field, LitStr, Member};

/// Implements `recurrent_core::Parameters` for a struct: its weights by name, and the same struct
/// over other weights.
///
/// Each field is a `Tensor`, an `Option<Tensor>`, a struct that derives `Params` itself, or an
/// `Option` of one. The name of a weight is that of its field, or that of
/// `#[param(name = "weight_ih")]`. A field with `#[param(skip)]` holds no weight.
///
/// ```text
/// use candle_core::Tensor;
/// use recurrent_core::{GateWeights, Parameters, Params};
///
/// #[derive(Clone, Params)]
/// struct MyCell {
///     gates: GateWeights, // weight_ih, weight_hh and, if it has biases, bias_ih, bias_hh
///     #[param(name = "weight_peephole")]
///     peephole: Option<Tensor>,
///     #[param(skip)]
///     relu: bool,
/// }
/// ```
///
/// A field that can hold no weight needs `#[param(skip)]`:
///
/// ```text
/// #[derive(Clone, Params)]
/// struct MyCell {
///     weight_ih: Tensor,
///     relu: bool, // error: `bool` holds no weights
/// }
/// ```
#[proc_macro_derive(Params, attributes(param))]
pub fn params(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.span(), "Params: expected a struct"));
    };
    let core = core_path()?;
    let (mut append, mut replace) = (Tokens::new(), Tokens::new());
    for (index, field) in data.fields.iter().enumerate() {
        let ident = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(index.into()),
        };
        match field_name(field, index)? {
            None => replace.extend(quote! { #ident: ::core::clone::Clone::clone(&self.#ident), }),
            Some(name) => {
                append.extend(quote! {
                    #core::ParamField::append(&self.#ident, #name, params);
                });
                replace.extend(quote! {
                    #ident: #core::ParamField::replaced(&self.#ident, params)?,
                });
            }
        }
    }
    let ident = &input.ident;
    let (generics, types, clauses) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #core::Parameters for #ident #types #clauses {
            fn append_params(
                &self,
                params: &mut ::std::vec::Vec<(::std::string::String, #core::__private::Tensor)>,
            ) {
                #append
            }

            fn replace_params(
                &self,
                params: &mut ::std::vec::IntoIter<#core::__private::Tensor>,
            ) -> #core::__private::Result<Self> {
                ::core::result::Result::Ok(Self { #replace })
            }
        }
    })
}

/// The name of the weight in a field; `None` if the field has no weight.
fn field_name(field: &Field, index: usize) -> syn::Result<Option<String>> {
    let mut name = Some(match &field.ident {
        Some(ident) => ident.to_string(),
        None => index.to_string(),
    });
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("param")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                name = None;
                Ok(())
            } else if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse::<LitStr>()?.value());
                Ok(())
            } else {
                Err(meta.error("param: expected `name = \"...\"` or `skip`"))
            }
        })?;
    }
    Ok(name)
}

/// The path of `recurrent-core` from the crate that uses the macro: its own dependency, or a
/// re-export of the facade or of a family crate.
fn core_path() -> syn::Result<Tokens> {
    if let Ok(found) = crate_name("recurrent-core") {
        let name = match found {
            FoundCrate::Itself => "recurrent_core".to_string(),
            FoundCrate::Name(name) => name,
        };
        let name = format_ident!("{name}");
        return Ok(quote! { ::#name });
    }
    let others = ["", "-lstm", "-gru", "-vanilla", "-layernorm", "-residual"];
    for name in others.map(|end| format!("recurrent{end}")) {
        if let Ok(FoundCrate::Name(name)) = crate_name(&name) {
            let name = format_ident!("{name}");
            return Ok(quote! { ::#name::core });
        }
    }
    let message = "Params: expected a dependency on recurrent-core, recurrent or a family crate";
    Err(Error::new(Span::call_site(), message))
}
