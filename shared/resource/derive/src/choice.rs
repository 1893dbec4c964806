//! `#[derive(Choice)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a choice must be an enum"));
    };
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a variant of a choice must not have fields"));
        }
    }
    let choice = &input.ident;
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<_> = variants.iter().map(|variant| snake_case(&variant.to_string())).collect();
    Ok(quote! {
        impl ::resource::value::Choice for #choice {
            const ALL: &'static [Self] = &[#(Self::#variants),*];
            const NAMES: &'static [&'static str] = &[#(#names),*];
        }

        impl ::resource::value::Value for #choice {
            const WRONG: &'static [&'static str] = &["null", "7", "\"\"", "\"none of them\"", "[]"];

            fn read(given: ::resource::given::Given) -> ::core::result::Result<Self, ::std::string::String> {
                ::resource::value::Choice::choose(given)
            }

            fn search_form(&self) -> ::std::string::String {
                ::resource::value::Choice::name(*self).to_owned()
            }

            fn key(&self) -> ::std::string::String {
                ::resource::value::Choice::name(*self).to_owned()
            }

            fn sample(number: u64) -> ::resource::derived::serde_json::Value {
                ::resource::value::choice::sample_of::<Self>(number)
            }
        }

        impl ::resource::derived::serde::Serialize for #choice {
            fn serialize<S: ::resource::derived::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(::resource::value::Choice::name(*self))
            }
        }

        impl<'de> ::resource::derived::serde::Deserialize<'de> for #choice {
            fn deserialize<D: ::resource::derived::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::resource::value::choice::deserialize(deserializer)
            }
        }
    })
}

/// Returns, for example, `wrong_state` for `WrongState`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
