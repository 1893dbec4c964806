//! The derive macros of the crate `resource`, which documents them and what they generate.

mod attributes;
mod choice;
mod plain;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a plain resource of a struct: see `resource::plain`.
///
/// On the struct: `kind = "O"` (one or two upper-case letters), `collection = "orders"`; if wanted `name = "order"` (otherwise
/// the struct's own name), `implied` (the kind of messages without one), `schema = 2` with `older = path` (a function that
/// reads older stored forms), and for a state machine `machine = "status: Status"` with `machine_list = "i2"`.
///
/// On a field: `default`, `unique`, `sort = "i1"` (all items sorted by it, on at most one field), `list = "i2"` (the items with
/// one value).
#[proc_macro_derive(Resource, attributes(resource))]
pub fn derive_resource(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    plain::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an enumeration without values a `Choice`, and a `Value`. Its names are those of the variants, in lower case with
/// underscores.
#[proc_macro_derive(Choice)]
pub fn derive_choice(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choice::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
