//! A field as data: what bodies, lists, unique keys and tests are derived from.

use std::fmt;

use kernel::ports::Slot;
use kernel::problem::Problem;
use serde_json::Value as Json;

use crate::value::Value;

/// Fields of a view that the service sets.
pub const SET_BY_SERVICE: [&str; 4] = ["id", "created_at", "updated_at", "version"];

/// A field of a plain resource.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name in bodies, stored forms and views, and as a parameter of lists.
    pub name: &'static str,
    /// Whether a create and a replace must give it.
    pub is_required: bool,
    /// Whether bodies may set it; only actions change the state of a state machine.
    pub is_settable: bool,
    /// The code and the title of the problem of a value that another item has; `None` if a value may occur twice.
    pub taken: Option<(&'static str, &'static str)>,
    /// The list that shows items by it.
    pub list: Option<List>,
    /// Values in JSON that are refused.
    pub wrong: &'static [&'static str],
    /// A value in JSON that is right, another one for each number.
    pub sample: fn(u64) -> Json,
    key: fn(&str) -> Result<String, String>,
    beginning: fn(&str) -> Result<String, String>,
}

/// How a list shows items by a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// All items, sorted by the field, searched by its beginning.
    Sorted(Slot),
    /// The items with one value.
    OfValue(Slot),
}

impl List {
    /// The index that holds it.
    #[must_use]
    pub const fn slot(self) -> Slot {
        match self {
            Self::Sorted(slot) | Self::OfValue(slot) => slot,
        }
    }
}

impl Field {
    /// A field of type `T` that a create must give.
    #[must_use]
    pub const fn of<T: Value>(name: &'static str) -> Self {
        Self {
            name,
            is_required: true,
            is_settable: true,
            taken: None,
            list: None,
            wrong: T::WRONG,
            sample: T::sample,
            key: |text| T::read_parameter(text).map(|value| value.key()),
            beginning: |text| T::check_beginning(text).map(|()| crate::text::search_form(text)),
        }
    }

    /// The same, with a default.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { is_required: false, ..self }
    }

    /// The same, set by actions only.
    #[must_use]
    pub const fn set_by_actions(self) -> Self {
        Self { is_required: false, is_settable: false, ..self }
    }

    /// The same, with a value that only one item has; the problem of a second one has this code and title.
    #[must_use]
    pub const fn unique(self, code: &'static str, title: &'static str) -> Self {
        Self { taken: Some((code, title)), ..self }
    }

    /// The same, with a list.
    #[must_use]
    pub const fn listed(self, list: List) -> Self {
        Self { list: Some(list), ..self }
    }

    /// The key of a value that a client gives as a parameter.
    pub fn key(&self, text: &str) -> Result<String, String> {
        (self.key)(text)
    }

    /// The form of the beginning of a value that a client gives as a parameter.
    pub fn beginning(&self, text: &str) -> Result<String, String> {
        (self.beginning)(text)
    }

    /// The query of the list by this field: for the items with this value, or for those that begin so. `None` if there is no such
    /// list, or if the value is no beginning.
    #[must_use]
    pub fn query(&self, value: &Json) -> Option<String> {
        match self.list? {
            List::OfValue(_) => Some(of_value(self, value)),
            List::Sorted(_) => {
                let text = text_of(value);
                self.beginning(&text).is_ok().then(|| beginning(self, &text))
            }
        }
    }

    /// The problem of a value that another item has.
    #[must_use]
    pub fn problem(&self, resource: &str) -> Problem {
        let (code, title) = self.taken.unwrap_or(("taken", "Taken"));
        let name = self.name;
        Problem::new(code, 409, title, format!("another {resource} has this {name}: choose another"))
    }
}

/// A right body with all fields that a client sets, another one for each number as far as there are others.
#[must_use]
pub fn full_body(fields: &[Field], number: u64) -> Json {
    let settable = fields.iter().filter(|field| field.is_settable);
    Json::Object(settable.map(|field| (field.name.to_owned(), (field.sample)(number))).collect())
}

/// The query for the items with this value.
#[must_use]
pub fn of_value(field: &Field, value: &Json) -> String {
    parameter(field.name, &text_of(value))
}

/// The query for the items that begin so.
#[must_use]
pub fn beginning(field: &Field, text: &str) -> String {
    parameter(&format!("{}_prefix", field.name), text)
}

/// A parameter, encoded.
#[must_use]
pub fn parameter(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// A value as a parameter has it.
#[must_use]
pub fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
