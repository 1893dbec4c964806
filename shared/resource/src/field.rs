//! A field as data. Bodies, lists, unique keys and tests are derived from it.

use std::fmt;

use kernel::ports::Slot;
use kernel::problem::Problem;
use serde_json::Value as Json;

use crate::value::Value;

/// The fields of a view that the service sets.
pub const SET_BY_SERVICE: [&str; 4] = ["id", "created_at", "updated_at", "version"];

/// A field of a plain resource.
#[derive(Clone, Copy)]
pub struct Field {
    /// The name in bodies, stored forms and views, and as a parameter of lists.
    pub name: &'static str,
    /// Whether a create and a replace must contain the field.
    pub is_required: bool,
    /// Whether bodies may set the field. Only actions change the state of a state machine.
    pub is_settable: bool,
    /// The code and the title of the problem if another item has the value; `None` if values need not be unique.
    pub taken: Option<(&'static str, &'static str)>,
    /// The list by this field.
    pub list: Option<List>,
    /// Invalid values, in JSON.
    pub wrong: &'static [&'static str],
    /// Returns a valid value in JSON. Different numbers give different values, as far as the type has enough of them.
    pub sample: fn(u64) -> Json,
    key: fn(&str) -> Result<String, String>,
    beginning: fn(&str) -> Result<String, String>,
}

/// The kind of list that a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// All items, sorted by the field. A query can give the beginning of the value.
    Sorted(Slot),
    /// The items with one value.
    OfValue(Slot),
}

impl List {
    /// Returns the index that holds the list.
    #[must_use]
    pub const fn slot(self) -> Slot {
        match self {
            Self::Sorted(slot) | Self::OfValue(slot) => slot,
        }
    }
}

impl Field {
    /// Makes a required field of type `T`.
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

    /// Gives the field a default.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { is_required: false, ..self }
    }

    /// Lets only actions set the field.
    #[must_use]
    pub const fn set_by_actions(self) -> Self {
        Self { is_required: false, is_settable: false, ..self }
    }

    /// Makes the values unique. The code and the title are those of the problem if another item has the value.
    #[must_use]
    pub const fn unique(self, code: &'static str, title: &'static str) -> Self {
        Self { taken: Some((code, title)), ..self }
    }

    /// Gives the field a list.
    #[must_use]
    pub const fn listed(self, list: List) -> Self {
        Self { list: Some(list), ..self }
    }

    /// Returns the key of a value that a client sent as a parameter. The error describes the valid values.
    pub fn key(&self, text: &str) -> Result<String, String> {
        (self.key)(text)
    }

    /// Returns the search form of the beginning of a value that a client sent as a parameter. The error describes the valid values.
    pub fn beginning(&self, text: &str) -> Result<String, String> {
        (self.beginning)(text)
    }

    /// Returns the query of the list by this field: for the items with this value, or for those whose value begins with it.
    /// `None` if the field has no list, or if no value can begin with the text.
    ///
    /// ```
    /// use kernel::ports::Slot;
    /// use resource::field::{Field, List};
    /// use resource::value::Text;
    /// use serde_json::json;
    ///
    /// let name = Field::of::<Text<100>>("name").listed(List::Sorted(Slot::I1));
    /// assert_eq!(name.query(&json!("Zoë")).as_deref(), Some("name_prefix=Zo%C3%AB"));
    /// let city = Field::of::<Text<100>>("city").listed(List::OfValue(Slot::I2));
    /// assert_eq!(city.query(&json!("Bonn")).as_deref(), Some("city=Bonn"));
    /// assert_eq!(Field::of::<Text<100>>("note").query(&json!("Bonn")), None);
    /// ```
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

    /// Returns the problem of a value that another item has.
    #[must_use]
    pub fn problem(&self, resource: &str) -> Problem {
        let (code, title) = self.taken.unwrap_or(("taken", "Taken"));
        let name = self.name;
        Problem::new(code, 409, title, format!("another {resource} has this {name} already: choose another value"))
    }
}

/// Returns a valid body with all fields that a client can set. Different numbers give different bodies, as far as the types
/// have enough values.
#[must_use]
pub fn full_body(fields: &[Field], number: u64) -> Json {
    let settable = fields.iter().filter(|field| field.is_settable);
    Json::Object(settable.map(|field| (field.name.to_owned(), (field.sample)(number))).collect())
}

/// Returns the query for the items with this value.
#[must_use]
pub fn of_value(field: &Field, value: &Json) -> String {
    parameter(field.name, &text_of(value))
}

/// Returns the query for the items whose value begins with this text.
#[must_use]
pub fn beginning(field: &Field, text: &str) -> String {
    parameter(&format!("{}_prefix", field.name), text)
}

/// Returns a parameter in its encoded form.
#[must_use]
pub fn parameter(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// Returns a value as the text of a parameter.
#[must_use]
pub fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
