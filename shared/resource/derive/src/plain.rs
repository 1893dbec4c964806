//! `#[derive(Resource)]`.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type};

use crate::attributes::{Machine, OfField, OfStruct, Slot, check_name};

/// A field with its attributes.
struct Field<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    docs: Vec<&'a syn::Attribute>,
    attributes: OfField,
}

/// The parsed struct.
struct Plain<'a> {
    input: &'a DeriveInput,
    attributes: OfStruct,
    fields: Vec<Field<'a>>,
    patch: Ident,
    state: Ident,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a resource must be a struct"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "a resource must have at least one field, and each field a name"));
    };
    let fields = named.named.iter().map(|field| {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "a field must have a name"))?;
        check_name(ident)?;
        let docs = field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect();
        Ok(Field { ident, ty: &field.ty, docs, attributes: OfField::parse(field)? })
    });
    let plain = Plain {
        input,
        attributes: OfStruct::parse(&input.ident, &input.attrs)?,
        fields: fields.collect::<Result<_>>()?,
        patch: format_ident!("{}Patch", input.ident),
        state: format_ident!("{}State", input.ident),
    };
    plain.check()?;
    let (forms, plain_impl) = (plain.forms(), plain.plain());
    let (resource, domain) = (plain.resource(), plain.domain());
    Ok(quote!(#forms #plain_impl #resource #domain))
}

impl Plain<'_> {
    /// Refuses two lists in one index, two fields that sort the list of all, and two fields of one name.
    fn check(&self) -> Result<()> {
        let mut taken = BTreeMap::new();
        let sorts: Vec<_> = self.fields.iter().filter_map(|field| field.attributes.sort.as_ref()).collect();
        if let [_, second, ..] = sorts.as_slice() {
            return Err(Error::new(second.span, "only one field may have sort: remove this one"));
        }
        if sorts.is_empty() {
            taken.insert("I1".to_owned(), "the list of all, by id".to_owned());
        }
        let lists = self.fields.iter().flat_map(|field| {
            [&field.attributes.sort, &field.attributes.list]
                .into_iter()
                .flatten()
                .map(|slot| (slot, field.ident.to_string()))
        });
        let machine = self.attributes.machine.iter();
        let of_machine =
            machine.clone().flat_map(|machine| machine.list.iter().map(|slot| (slot, machine.field.to_string())));
        for (slot, field) in lists.chain(of_machine) {
            let Slot { variant, span } = slot;
            if let Some(other) = taken.insert(variant.to_string(), format!("the list by {field}")) {
                return Err(Error::new(*span, format!("{other} uses this index already: choose another index")));
            }
        }
        for Machine { field, .. } in machine {
            check_name(field)?;
            if self.fields.iter().any(|known| known.ident == field) {
                return Err(Error::new_spanned(field, "the machine adds this field: remove it from the struct"));
            }
        }
        Ok(())
    }

    fn idents(&self) -> Vec<&Ident> {
        self.fields.iter().map(|field| field.ident).collect()
    }

    /// Writes the structs of patches and of states.
    fn forms(&self) -> TokenStream {
        let (resource, patch, state, vis) = (&self.input.ident, &self.patch, &self.state, &self.input.vis);
        let idents = self.idents();
        let types: Vec<_> = self.fields.iter().map(|field| field.ty).collect();
        let docs: Vec<_> = self.fields.iter().map(|field| &field.docs).collect();
        let of_patch = format!("A change of one [`{resource}`]. A field that is `None` stays as it is.");
        let of_state = format!("The stored state of one [`{resource}`].");
        let machine = self.attributes.machine.iter().map(|Machine { field, states, .. }| {
            quote! {
                #[doc = "The state that the actions led to."]
                pub #field: #states,
            }
        });
        quote! {
            #[doc = #of_patch]
            #[derive(Debug, Clone, Default, PartialEq, ::resource::derived::serde::Serialize, ::resource::derived::serde::Deserialize)]
            #[serde(crate = "::resource::derived::serde")]
            #vis struct #patch {
                #(
                    #(#docs)*
                    #[serde(default, skip_serializing_if = "Option::is_none")]
                    pub #idents: ::core::option::Option<#types>,
                )*
            }

            #[doc = #of_state]
            #[derive(Debug, Clone, PartialEq, ::resource::derived::serde::Serialize, ::resource::derived::serde::Deserialize)]
            #[serde(crate = "::resource::derived::serde")]
            #vis struct #state {
                #(
                    #(#docs)*
                    pub #idents: ::resource::plain::Stamped<#types>,
                )*
                #(#machine)*
                #[doc = "The time at which the service accepted the create."]
                pub created_at: ::resource::derived::kernel::clock::Timestamp,
                #[doc = "The time at which the service accepted the latest change."]
                pub updated_at: ::resource::derived::kernel::clock::Timestamp,
            }
        }
    }

    /// Writes the table of the fields.
    fn table(&self) -> TokenStream {
        let of_slot = |list: &str, slot: &Slot| {
            let (list, variant) = (format_ident!("{list}"), &slot.variant);
            quote!(.listed(::resource::field::List::#list(::resource::derived::kernel::ports::Slot::#variant)))
        };
        let fields = self.fields.iter().map(|Field { ident, ty, attributes, .. }| {
            let name = ident.to_string();
            let optional = attributes.has_default.then(|| quote!(.optional()));
            let unique = attributes.is_unique.then(|| {
                let (code, title) =
                    (format!("{}-taken", name.replace('_', "-")), format!("{} taken", capitalised(&name)));
                quote!(.unique(#code, #title))
            });
            let sort = attributes.sort.iter().map(|slot| of_slot("Sorted", slot));
            let list = attributes.list.iter().map(|slot| of_slot("OfValue", slot));
            quote!(::resource::field::Field::of::<#ty>(#name) #optional #unique #(#sort)* #(#list)*)
        });
        let machine = self.attributes.machine.iter().map(|Machine { field, states, list }| {
            let name = field.to_string();
            let list = list.iter().map(|slot| of_slot("OfValue", slot));
            quote!(::resource::field::Field::of::<#states>(#name).set_by_actions() #(#list)*)
        });
        quote!(&[#(#fields,)* #(#machine,)*])
    }

    fn plain(&self) -> TokenStream {
        let (resource, patch) = (&self.input.ident, &self.patch);
        let (bodies, states) = (self.bodies(), self.states());
        let stateless = || quote!(::resource::machine::Stateless);
        let machine = self.attributes.machine.as_ref().map_or_else(stateless, |Machine { states, .. }| quote!(#states));
        quote! {
            impl ::resource::plain::Plain for #resource {
                type Patch = #patch;
                type Machine = #machine;

                #bodies
                #states
            }
        }
    }

    /// Writes the functions that read bodies.
    fn bodies(&self) -> TokenStream {
        let (idents, patch) = (self.idents(), &self.patch);
        let names: Vec<_> = idents.iter().map(ToString::to_string).collect();
        let takes = self.fields.iter().map(|Field { ident, attributes, .. }| {
            let name = ident.to_string();
            if attributes.has_default {
                quote!(::core::option::Option::Some(fields.take(#name).unwrap_or_default()))
            } else {
                quote!(fields.require(#name))
            }
        });
        quote! {
            fn read(fields: &mut ::resource::body::Fields) -> ::core::option::Option<Self> {
                // All fields are read before any of them can return, so that all errors are reported at once.
                #(let #idents = #takes;)*
                ::core::option::Option::Some(Self { #(#idents: #idents?),* })
            }

            fn read_patch(fields: &mut ::resource::body::Fields) -> #patch {
                #patch { #(#idents: fields.take(#names)),* }
            }

            fn into_patch(self) -> #patch {
                #patch { #(#idents: ::core::option::Option::Some(self.#idents)),* }
            }
        }
    }

    /// Writes the functions that make and read states.
    fn states(&self) -> TokenStream {
        let (idents, patch, state) = (self.idents(), &self.patch, &self.state);
        let names: Vec<_> = idents.iter().map(ToString::to_string).collect();
        let timestamp = quote!(::resource::derived::kernel::clock::Timestamp);
        let stamp = quote!(::resource::derived::kernel::ids::Stamp);
        let of_machine = self.of_machine();
        let machine: Vec<_> = self.attributes.machine.iter().map(|machine| &machine.field).collect();
        let machine_names = machine.iter().map(ToString::to_string);
        quote! {
            fn into_state(self, stamp: #stamp) -> #state {
                #state {
                    #(#idents: ::resource::plain::Stamped { value: self.#idents, stamp },)*
                    #(#machine: ::core::default::Default::default(),)*
                    created_at: stamp.at,
                    updated_at: stamp.at,
                }
            }

            fn winning(patch: #patch, state: &#state, stamp: #stamp) -> #patch {
                #patch { #(#idents: patch.#idents.filter(|_| stamp > state.#idents.stamp)),* }
            }

            fn set(state: #state, patch: #patch, stamp: #stamp, at: #timestamp) -> #state {
                #state {
                    #(#idents: state.#idents.or_set(patch.#idents, stamp),)*
                    #(#machine: state.#machine,)*
                    created_at: state.created_at,
                    updated_at: state.updated_at.max(at),
                }
            }

            fn latest_stamp(state: &#state) -> #stamp {
                let stamps = [#(state.#idents.stamp),*];
                stamps.into_iter().max().unwrap_or(stamps[0])
            }

            fn value<'a>(
                state: &'a #state,
                field: &::resource::field::Field,
            ) -> ::core::option::Option<&'a dyn ::resource::plain::Keyed> {
                match field.name {
                    #(#names => ::core::option::Option::Some(&state.#idents.value),)*
                    #(#machine_names => ::core::option::Option::Some(&state.#machine),)*
                    _ => ::core::option::Option::None,
                }
            }

            #of_machine
        }
    }

    fn of_machine(&self) -> TokenStream {
        let (state, timestamp) = (&self.state, quote!(::resource::derived::kernel::clock::Timestamp));
        let Some(Machine { field, states, .. }) = &self.attributes.machine else {
            return quote! {
                fn machine(_: &#state) -> ::resource::machine::Stateless {
                    ::resource::machine::Stateless
                }

                fn moved(state: #state, _: ::resource::machine::Stateless, _: #timestamp) -> #state {
                    state
                }
            };
        };
        quote! {
            fn machine(state: &#state) -> #states {
                state.#field
            }

            fn moved(state: #state, to: #states, at: #timestamp) -> #state {
                #state { #field: to, updated_at: state.updated_at.max(at), ..state }
            }
        }
    }

    fn resource(&self) -> TokenStream {
        let (resource, table) = (&self.input.ident, self.table());
        let OfStruct { collection, name, .. } = &self.attributes;
        quote! {
            impl ::resource::Resource for #resource {
                const COLLECTION: &'static str = #collection;
                const NAME: &'static str = #name;
                const FIELDS: &'static [::resource::Field] = #table;
                const ACTIONS: &'static [&'static str] =
                    <::resource::plain::ActionOf<Self> as ::resource::value::Choice>::NAMES;

                fn parse(
                    operation: ::resource::Operation,
                    body: &[u8],
                ) -> ::core::result::Result<::resource::plain::Command<Self>, ::resource::BodyError> {
                    ::resource::plain::parse(operation, body)
                }

                fn filter(
                    parameters: &mut ::resource::Parameters,
                ) -> ::core::result::Result<::resource::derived::kernel::query::ListScope, ::resource::FilterError> {
                    ::resource::plain::filter::<Self>(parameters)
                }
            }
        }
    }

    /// Writes the code that makes the view of a state.
    fn view(&self) -> TokenStream {
        let idents = self.idents();
        let types: Vec<_> = self.fields.iter().map(|field| field.ty).collect();
        let machine: Vec<_> = self.attributes.machine.iter().map(|machine| &machine.field).collect();
        let states: Vec<_> = self.attributes.machine.iter().map(|machine| &machine.states).collect();
        // The name must differ from the types of the fields.
        quote! {
            #[derive(::resource::derived::serde::Serialize)]
            #[serde(crate = "::resource::derived::serde")]
            struct __View<'a> {
                id: ::resource::derived::kernel::ids::AggregateId,
                #(#idents: &'a #types,)*
                #(#machine: &'a #states,)*
                created_at: ::std::string::String,
                updated_at: ::std::string::String,
                version: u64,
            }
            ::resource::plain::written(&__View {
                id,
                #(#idents: &state.#idents.value,)*
                #(#machine: &state.#machine,)*
                created_at: state.created_at.to_string(),
                updated_at: state.updated_at.to_string(),
                version,
            })
        }
    }

    /// Writes the kind, and the code that reads stored forms.
    fn kind_and_decode(&self) -> (TokenStream, TokenStream) {
        let OfStruct { kind, is_implied, schema, older, .. } = &self.attributes;
        let constructor = format_ident!("{}", if *is_implied { "implied" } else { "new" });
        let kind = quote!(::resource::derived::kernel::ids::Kind::#constructor(#kind));
        let mut decode = quote!(::resource::plain::decode(#schema, schema, body));
        if let Some(older) = older {
            decode = quote!(if schema < #schema { #older(schema, body) } else { #decode });
        }
        (kind, decode)
    }

    fn domain(&self) -> TokenStream {
        let (resource, state, view, schema) = (&self.input.ident, &self.state, self.view(), &self.attributes.schema);
        let (kind, decode) = self.kind_and_decode();
        let kernel = quote!(::resource::derived::kernel);
        let (bytes, domain) = (quote!(::resource::derived::bytes::Bytes), quote!(#kernel::domain));
        quote! {
            impl #domain::Domain for #resource {
                const KIND: #kernel::ids::Kind = #kind;
                const SCHEMA: u16 = #schema;

                type Command = ::resource::plain::Command<Self>;
                type Event = ::resource::plain::Event<Self>;
                type State = #state;

                fn creates(command: &Self::Command) -> bool {
                    ::resource::plain::creates(command)
                }

                fn is_ordered(command: &Self::Command) -> bool {
                    ::resource::plain::is_ordered(command)
                }

                fn decide(
                    state: ::core::option::Option<&#state>,
                    command: &Self::Command,
                    context: &#domain::Context,
                ) -> #domain::Decision<Self::Event> {
                    ::resource::plain::decide::<Self>(state, command, context)
                }

                fn evolve(state: ::core::option::Option<#state>, event: Self::Event) -> ::core::option::Option<#state> {
                    ::resource::plain::evolve::<Self>(state, event)
                }

                fn unique_keys(tenant: &#kernel::ids::Tenant, state: &#state) -> ::std::vec::Vec<#kernel::ports::UniqueKey> {
                    ::resource::plain::unique_keys::<Self>(tenant, state)
                }

                fn unique_key_held(unique_key: &#kernel::ports::UniqueKey) -> #kernel::problem::Problem {
                    ::resource::plain::unique_key_held::<Self>(unique_key)
                }

                fn project(
                    _: #kernel::projection::Projection,
                    id: #kernel::ids::AggregateId,
                    version: u64,
                    state: &#state,
                ) -> #bytes {
                    #view
                }

                fn index(
                    _: #kernel::projection::Projection,
                    key: &#kernel::ids::AggregateKey,
                    state: &#state,
                ) -> ::std::vec::Vec<#kernel::ports::IndexEntry> {
                    ::resource::plain::index::<Self>(key, state)
                }

                fn encode(state: &#state) -> #bytes {
                    ::resource::plain::written(state)
                }

                fn decode(schema: u16, body: &[u8]) -> ::core::result::Result<#state, #domain::DecodeError> {
                    #decode
                }
            }
        }
    }
}

/// Returns, for example, `Email` for `email`.
fn capitalised(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
