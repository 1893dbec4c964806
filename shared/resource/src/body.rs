//! Reads request bodies in JSON (RFC 8259), and finds duplicate keys of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kernel::problem::FieldError;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::given::Given;
use crate::value::Value;

/// The most duplicate keys that are reported. A pointer can be as long as the body.
const TWICE_MAX: usize = 20;

/// The reason why a body is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or not UTF-8. The text says at which position.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// JSON, but not a valid command. Lists all errors at once.
    #[error("{} fields are wrong", .0.len())]
    Fields(Vec<FieldError>),
}

/// A request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The value.
    pub value: Given,
    /// JSON pointers (RFC 6901) to the duplicate keys of objects, at any depth, at most 20. The values of such a key contradict
    /// each other, and libraries differ in the value that they use (RFC 8259, section 4).
    pub twice: BTreeSet<String>,
}

impl Body {
    /// Reads a body. The error gives the position at which the body is not JSON, or is nested too deeply.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut twice = BTreeSet::new();
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = Reader { at: &mut String::new(), twice: &mut twice }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(Self { value, twice })
    }
}

/// The fields of a body that are not yet read, and the errors found so far.
///
/// A client gets all errors of a body at once:
///
/// ```
/// use resource::BodyError;
/// use resource::body::Fields;
/// use resource::value::{Email, Integer};
///
/// let mut fields = Fields::parse(br#"{"email": "ada", "colour": "red"}"#)?;
/// let email = fields.require::<Email>("email");
/// let beds = fields.require::<Integer<1, 9>>("beds");
/// let Err(BodyError::Fields(errors)) = fields.finish(email.zip(beds), |_| "is unknown".to_owned()) else { panic!() };
/// let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
/// assert_eq!(pointers, ["/email", "/beds", "/colour"]);
/// # Ok::<(), BodyError>(())
/// ```
#[derive(Debug, Default)]
pub struct Fields {
    left: BTreeMap<String, Given>,
    twice: BTreeSet<String>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads an object.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let Body { value, twice } = Body::parse(body).map_err(|error| BodyError::Syntax(error.to_string()))?;
        match value {
            Given::Object(left) => Ok(Self { left, twice, errors: Vec::new() }),
            _ => Err(BodyError::Fields(vec![FieldError {
                pointer: String::new(),
                detail: "must be a JSON object".to_owned(),
            }])),
        }
    }

    /// Takes a field; `None` if it is absent or invalid. An invalid field is recorded as an error.
    pub fn take<T: Value>(&mut self, field: &str) -> Option<T> {
        let value = T::read(self.left.remove(field)?);
        value.map_err(|detail| self.errors.push(error(field, detail))).ok()
    }

    /// Takes a required field. An absent field is recorded as an error, too.
    pub fn require<T: Value>(&mut self, field: &str) -> Option<T> {
        if !self.left.contains_key(field) {
            self.errors.push(error(field, "is required"));
        }
        self.take(field)
    }

    /// Returns `read` if there is no error, or else all errors. `unknown` returns the error text for a field that was not
    /// taken.
    pub fn finish<T>(mut self, read: Option<T>, unknown: impl Fn(&str) -> String) -> Result<T, BodyError> {
        self.errors.extend(self.left.keys().map(|field| error(field, unknown(field))));
        // Each field is named once.
        self.errors.retain(|error| !self.twice.contains(&error.pointer));
        let twice = |pointer| FieldError { pointer, detail: "is given twice".to_owned() };
        self.errors.extend(self.twice.into_iter().map(twice));
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => Err(BodyError::Fields(self.errors)),
        }
    }
}

fn error(field: &str, detail: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer(field), detail: detail.into() }
}

/// Returns the JSON pointer to a field of the body, for example `/a~1b` (RFC 6901, section 3).
#[must_use]
pub fn pointer(field: &str) -> String {
    format!("/{}", field.replace('~', "~0").replace('/', "~1"))
}

/// Reads the value at a JSON pointer.
struct Reader<'a> {
    at: &'a mut String,
    twice: &'a mut BTreeSet<String>,
}

impl Reader<'_> {
    /// Returns a reader for the value below this one.
    fn below(&mut self, field: &str) -> Reader<'_> {
        self.at.push_str(&pointer(field));
        Reader { at: self.at, twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(i64::try_from(number).map_or(Given::Other, Given::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
        Ok(Given::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Given, A::Error> {
        let length = self.at.len();
        let mut index = 0;
        while list.next_element_seed(self.below(&index.to_string()))?.is_some() {
            self.at.truncate(length);
            index += 1;
        }
        Ok(Given::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Given, A::Error> {
        let length = self.at.len();
        let mut object = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.below(&key))?;
            if object.insert(key, value).is_some() && self.twice.len() < TWICE_MAX {
                self.twice.insert(self.at.clone());
            }
            self.at.truncate(length);
        }
        Ok(Given::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(text: &str) -> Vec<String> {
        Body::parse(text.as_bytes()).unwrap().twice.into_iter().collect()
    }

    #[test]
    fn keys_that_an_object_has_twice_are_found_at_any_depth() {
        for (text, expected) in [
            (r#"{"a":1,"b":{"a":1}}"#, &[][..]),
            (r#"{"a":1,"a":1,"a":2}"#, &["/a"]),
            (r#"{"a":1,"\u0061":1}"#, &["/a"]),
            (r#"{"a":{"b/c":1,"b/c":null},"d":[0,[{"~":1,"~":1}]]}"#, &["/a/b~1c", "/d/1/0/~0"]),
            (r#"{"a":[{"x":1},{"x":1}],"b":{"x":1},"x":1}"#, &[]),
            (r#"[{"":1,"":2}]"#, &["/0/"]),
            (r#"{"a":{"x":1,"x":1},"a":{"x":1,"x":1}}"#, &["/a", "/a/x"]),
        ] {
            assert_eq!(twice(text), expected, "{text}");
        }
    }

    #[test]
    fn no_more_than_20_keys_are_named() {
        let keys: Vec<_> = (0..500).map(|key| format!("\"{key}\":1,\"{key}\":2")).collect();
        assert_eq!(twice(&format!("{{{}}}", keys.join(","))).len(), TWICE_MAX);
    }

    #[test]
    fn each_json_value_is_read_with_its_type() {
        let text =
            br#" {"t":"\u00e9","n":null,"o":{},"u":7,"i":-7,"f":7.0,"b":true,"l":["x"],"h":9223372036854775808} "#;
        let Given::Object(object) = Body::parse(text).unwrap().value else { panic!("no object") };
        assert_eq!(object["t"], Given::Text("é".to_owned()));
        assert_eq!((&object["n"], &object["u"]), (&Given::Null, &Given::Number(7)));
        assert_eq!(object["o"], Given::Object(BTreeMap::new()));
        assert_eq!((&object["i"], &object["b"]), (&Given::Number(-7), &Given::Bool(true)));
        for other in ["f", "l", "h"] {
            assert_eq!(object[other], Given::Other, "{other}");
        }
        for wrong in ["", "{}x", "{} {}", "{\"a\":}", &"[".repeat(30_000)] {
            assert!(Body::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
