//! The derive macros of the crate `resource`, which documents them and the generated code.

mod attributes;
mod choice;
mod plain;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a plain resource from a struct: see `resource::plain`.
///
/// Attributes of the struct:
///
/// - `kind = "O"`: one or two upper-case letters.
/// - `collection = "orders"`.
/// - `name = "order"`: optional; the default is the struct's own name.
/// - `implied`: messages without a kind are of this one.
/// - `schema = 2` with `older = path`: a function that reads older stored forms.
/// - `machine = "status: Status"`, with `machine_list = "i2"`: a state machine, with a list by its state.
///
/// Attributes of a field:
///
/// - `default`: the field may be missing in a create and a replace.
/// - `unique`: no two items of a tenant share a value.
/// - `sort = "i1"`, on at most one field: the list of all items is sorted by it.
/// - `list = "i2"`: a list of the items with one value.
#[proc_macro_derive(Resource, attributes(resource))]
pub fn derive_resource(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    plain::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `Choice` and `Value` for an enumeration whose variants have no values. The names are those of the variants, in
/// lower case with underscores.
#[proc_macro_derive(Choice)]
pub fn derive_choice(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choice::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
