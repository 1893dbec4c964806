//! A field, in the notation of `--field name:type:…`.

use std::collections::BTreeSet;

use resource::field::SET_BY_SERVICE;

use super::{camel_case, variant, word};

/// The parameters of every list.
const OF_LISTS: [&str; 2] = ["limit", "cursor"];

/// A field of a new resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) ty: Type,
    /// The content of `#[resource(…)]`.
    pub(super) attributes: Vec<String>,
}

/// The type of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text(usize),
    Email,
    Integer(i64, i64),
    Decimal(usize),
    Boolean,
    Date,
    Timestamp,
    Id,
    /// The name of the type, and its variants.
    Enum(String, Vec<String>),
}

/// The indexes that are free for lists.
#[derive(Debug)]
pub(super) struct Lists {
    left: std::ops::RangeInclusive<u8>,
    is_sorted: bool,
}

impl Lists {
    /// Reserves the first index for the list of all items, and the next one for a state machine.
    pub(super) fn of(fields: &[String], has_machine: bool) -> Self {
        let is_sorted = fields.iter().any(|field| field.split(':').skip(2).any(|part| part == "sort"));
        Self { left: if has_machine { 3..=5 } else { 2..=5 }, is_sorted }
    }

    fn next(&mut self, field: &str) -> Result<String, String> {
        let none =
            || format!("no index is left for a list by {field}, because a table has five indexes: remove a `list`");
        self.left.next().map(|slot| format!("list = \"i{slot}\"")).ok_or_else(none)
    }
}

impl Field {
    pub(super) fn of(given: &str, lists: &mut Lists) -> Result<Self, String> {
        let mut parts = given.split(':');
        let (Some(name), Some(ty)) = (parts.next(), parts.next()) else {
            return Err(format!(
                "`{}` is not a field: give name:type, for example name:text(50):unique",
                given.escape_debug()
            ));
        };
        word(name)?;
        if SET_BY_SERVICE.contains(&name) || OF_LISTS.contains(&name) {
            return Err(format!("the field name {name} is reserved by the service: choose another name"));
        }
        let ty = Type::of(name, ty)?;
        let mut attributes = Vec::new();
        for part in parts {
            let attribute = match part {
                "unique" => "unique".to_owned(),
                "list" => lists.next(name)?,
                "sort" if !std::mem::take(&mut lists.is_sorted) => {
                    return Err(format!("only one field can sort the list of all items: remove `sort` from {name}"));
                }
                "sort" => "sort = \"i1\"".to_owned(),
                "default" if !matches!(ty, Type::Boolean | Type::Enum(..)) => {
                    return Err(format!("{name} cannot have a default: only a boolean or an enum can"));
                }
                "default" => "default".to_owned(),
                other => {
                    let other = other.escape_debug();
                    return Err(format!("`{other}` is not an option of a field: use unique, list, sort or default"));
                }
            };
            attributes.push(attribute);
        }
        Ok(Self { name: name.to_owned(), ty, attributes })
    }
}

impl Type {
    fn of(field: &str, given: &str) -> Result<Self, String> {
        let (name, inside) = match given.strip_suffix(')').and_then(|given| given.split_once('(')) {
            Some((name, inside)) => (name, Some(inside)),
            None => (given, None),
        };
        Ok(match (name, inside) {
            ("text", None) => Self::Text(100),
            ("text", Some(length)) => {
                Self::Text(number(length, 1, 10_000).ok_or_else(|| wrong(given, "length from 1 to 10000"))?)
            }
            ("email", None) => Self::Email,
            ("integer", None) => Self::Integer(0, 1_000_000_000),
            ("integer", Some(range)) => range_of(range).ok_or_else(|| wrong(given, "range, such as 1..10"))?,
            ("decimal", None) => Self::Decimal(2),
            ("decimal", Some(scale)) => {
                Self::Decimal(number(scale, 0, 12).ok_or_else(|| wrong(given, "number of digits from 0 to 12"))?)
            }
            ("boolean", None) => Self::Boolean,
            ("date", None) => Self::Date,
            ("timestamp", None) => Self::Timestamp,
            ("id", None) => Self::Id,
            ("enum", Some(variants)) => Self::Enum(camel_case(field), variants_of(variants)?),
            _ => {
                let types = "text(100), email, integer(0..10), decimal(2), boolean, enum(a|b), date, timestamp or id";
                return Err(format!("`{}` is not a type: use {types}", given.escape_debug()));
            }
        })
    }

    /// Returns the type as the struct spells it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Text(length) => format!("Text<{length}>"),
            Self::Email => "Email".to_owned(),
            Self::Integer(least, most) => format!("Integer<{}, {}>", grouped(*least), grouped(*most)),
            Self::Decimal(scale) => format!("Decimal<{scale}>"),
            Self::Boolean => "bool".to_owned(),
            Self::Date => "Date".to_owned(),
            Self::Timestamp => "Moment".to_owned(),
            Self::Id => "AggregateId".to_owned(),
            Self::Enum(name, _) => name.clone(),
        }
    }

    /// Returns the type's name in the kit, if it must be imported.
    pub(super) fn import(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => Some("Text"),
            Self::Email => Some("Email"),
            Self::Integer(..) => Some("Integer"),
            Self::Decimal(_) => Some("Decimal"),
            Self::Boolean => None,
            Self::Date => Some("Date"),
            Self::Timestamp => Some("Moment"),
            Self::Id => Some("AggregateId"),
            Self::Enum(..) => Some("Choice"),
        }
    }
}

fn wrong(given: &str, what: &str) -> String {
    format!("`{}` needs a {what}", given.escape_debug())
}

fn number(text: &str, least: usize, most: usize) -> Option<usize> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}

fn range_of(text: &str) -> Option<Type> {
    let (least, most) = text.split_once("..")?;
    let (least, most) = (least.parse().ok()?, most.parse().ok()?);
    (least < most).then_some(Type::Integer(least, most))
}

fn variants_of(text: &str) -> Result<Vec<String>, String> {
    let (mut variants, mut seen) = (Vec::new(), BTreeSet::new());
    for variant in text.split('|') {
        self::variant(variant)?;
        if !seen.insert(variant) {
            return Err(format!("`enum({})` names {variant} twice", text.escape_debug()));
        }
        variants.push(variant.to_owned());
    }
    Ok(variants)
}

/// Groups the digits, for example `1_000_000`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let digits: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, digits.join("_"))
}
