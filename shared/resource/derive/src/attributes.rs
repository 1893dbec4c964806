//! The attributes in `#[resource(…)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Field, Ident, LitInt, LitStr, Path, Result, Type};

use crate::choice::snake_case;

/// Field names that views or the parameters of lists already use.
const RESERVED: [&str; 6] = ["id", "version", "created_at", "updated_at", "limit", "cursor"];
/// The indexes of a table.
const SLOTS: [&str; 5] = ["i1", "i2", "i3", "i4", "i5"];

/// The attributes of the struct.
pub(crate) struct OfStruct {
    pub(crate) kind: LitStr,
    pub(crate) is_implied: bool,
    pub(crate) collection: LitStr,
    pub(crate) name: String,
    pub(crate) schema: LitInt,
    pub(crate) older: Option<Path>,
    pub(crate) machine: Option<Machine>,
}

/// A state machine: its field, its type, and the index of its list.
pub(crate) struct Machine {
    pub(crate) field: Ident,
    pub(crate) states: Type,
    pub(crate) list: Option<Slot>,
}

/// An index, with its position in the source for error messages.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) variant: Ident,
    pub(crate) span: Span,
}

/// The attributes of a field.
#[derive(Default)]
pub(crate) struct OfField {
    pub(crate) has_default: bool,
    pub(crate) is_unique: bool,
    pub(crate) sort: Option<Slot>,
    pub(crate) list: Option<Slot>,
}

impl OfStruct {
    pub(crate) fn parse(ident: &Ident, attributes: &[Attribute]) -> Result<Self> {
        let (mut kind, mut collection, mut name, mut schema, mut older) = (None, None, None, None, None);
        let (mut is_implied, mut machine, mut machine_list) = (false, None, None);
        for_each(attributes, |meta| {
            match meta.path.require_ident()?.to_string().as_str() {
                "kind" => kind = Some(meta.value()?.parse()?),
                "implied" => is_implied = true,
                "collection" => collection = Some(collection_of(&meta)?),
                "name" => name = Some(meta.value()?.parse::<LitStr>()?.value()),
                "schema" => schema = Some(meta.value()?.parse()?),
                "older" => older = Some(meta.value()?.parse()?),
                "machine" => machine = Some(meta.value()?.parse::<LitStr>()?.parse_with(field_and_type)?),
                "machine_list" => machine_list = Some(slot(&meta)?),
                _ => {
                    let known = "kind, implied, collection, name, schema, older, machine and machine_list";
                    return Err(meta.error(format!("unknown attribute: a resource has {known}")));
                }
            }
            Ok(())
        })?;
        let missing = |what| Error::new_spanned(ident, format!("add #[resource({what})]"));
        if machine.is_none()
            && let Some(list) = &machine_list
        {
            return Err(Error::new(list.span, "machine_list needs a machine: add machine = \"field: Type\""));
        }
        let schema = schema.unwrap_or_else(|| LitInt::new("1", Span::call_site()));
        if schema.base10_parse::<u16>()? != 1 && older.is_none() {
            return Err(Error::new(schema.span(), "add older = path, the function that reads the earlier schemas"));
        }
        Ok(Self {
            kind: kind.ok_or_else(|| missing("kind = \"…\", one or two upper-case letters"))?,
            is_implied,
            collection: collection.ok_or_else(|| missing("collection = \"…\", for example \"users\""))?,
            name: name.unwrap_or_else(|| snake_case(&ident.to_string())),
            schema,
            older,
            machine: machine.map(|(field, states)| Machine { field, states, list: machine_list }),
        })
    }
}

impl OfField {
    pub(crate) fn parse(field: &Field) -> Result<Self> {
        let mut attributes = Self::default();
        for_each(&field.attrs, |meta| {
            match meta.path.require_ident()?.to_string().as_str() {
                "default" => attributes.has_default = true,
                "unique" => attributes.is_unique = true,
                "sort" => attributes.sort = Some(slot(&meta)?),
                "list" => attributes.list = Some(slot(&meta)?),
                _ => return Err(meta.error("unknown attribute: a field has default, unique, sort and list")),
            }
            Ok(())
        })?;
        if let (Some(sort), Some(_)) = (&attributes.sort, &attributes.list) {
            return Err(Error::new(sort.span, "a field has at most one list: remove sort or list"));
        }
        Ok(attributes)
    }
}

/// Refuses a field name that the service itself uses.
pub(crate) fn check_name(field: &Ident) -> Result<()> {
    match RESERVED.contains(&field.to_string().as_str()) {
        true => Err(Error::new_spanned(field, format!("the service itself uses `{field}`: choose another name"))),
        false => Ok(()),
    }
}

fn for_each(attributes: &[Attribute], mut parse: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    let mut ours = attributes.iter().filter(|attribute| attribute.path().is_ident("resource"));
    ours.try_for_each(|attribute| attribute.parse_nested_meta(&mut parse))
}

fn collection_of(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let collection: LitStr = meta.value()?.parse()?;
    let is_segment = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match is_segment(&collection.value()) {
        true => Ok(collection),
        false => {
            Err(Error::new(collection.span(), "a collection must have only a-z, 0-9 and -, and begin with a letter"))
        }
    }
}

fn slot(meta: &ParseNestedMeta<'_>) -> Result<Slot> {
    let slot: LitStr = meta.value()?.parse()?;
    match SLOTS.contains(&slot.value().as_str()) {
        true => Ok(Slot { variant: Ident::new(&slot.value().to_uppercase(), slot.span()), span: slot.span() }),
        false => Err(Error::new(slot.span(), format!("an index must be one of {}", SLOTS.join(", ")))),
    }
}

/// Parses, for example, `status: Status`.
fn field_and_type(input: syn::parse::ParseStream<'_>) -> Result<(Ident, Type)> {
    let field: Ident = input.parse()?;
    input.parse::<syn::Token![:]>()?;
    Ok((field, input.parse()?))
}
