//! Request bodies become commands here, or a list of everything that is wrong with them.

use kernel::problem::FieldError;
use serde_json::{Map, Value};

use crate::field::{FieldInvalid, Status};
use crate::{Details, Patch, UserCommand};

/// Why a body is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or not UTF-8: says where.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// JSON, but not what is asked for: all that is wrong, at once.
    #[error("{} fields are wrong", .0.len())]
    Fields(Vec<FieldError>),
}

/// Reads the body of a create: `name` and `email`, and `status` if it shall not be `active`.
pub fn create(body: &[u8]) -> Result<UserCommand, BodyError> {
    details(body).map(UserCommand::Create)
}

/// Reads the body of a replace: as for a create.
pub fn replace(body: &[u8]) -> Result<UserCommand, BodyError> {
    details(body).map(UserCommand::Replace)
}

/// Reads the body of an update: a JSON merge patch (RFC 7396). No field can be removed, so `null` is refused.
pub fn update(body: &[u8]) -> Result<UserCommand, BodyError> {
    let mut fields = Fields::parse(body)?;
    let patch = Patch { name: fields.take("name"), email: fields.take("email"), status: fields.take("status") };
    fields.finish()?;
    Ok(UserCommand::Update(patch))
}

fn details(body: &[u8]) -> Result<Details, BodyError> {
    let mut fields = Fields::parse(body)?;
    let (name, email) = (fields.require("name"), fields.require("email"));
    let status = fields.take("status").unwrap_or(Status::Active);
    fields.finish()?;
    match (name, email) {
        (Some(name), Some(email)) => Ok(Details { name, email, status }),
        // `finish` has failed already where one is missing.
        _ => Err(BodyError::Fields(Vec::new())),
    }
}

/// The fields of a body that have not been looked at yet, and what is wrong with the others.
struct Fields {
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, BodyError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Self { left, errors: Vec::new() }),
            Ok(_) => Err(BodyError::Fields(vec![error("", "must be a JSON object")])),
            Err(error) => Err(BodyError::Syntax(error.to_string())),
        }
    }

    fn take<T: TryFrom<String, Error = FieldInvalid>>(&mut self, field: &str) -> Option<T> {
        let value = match self.left.remove(field)? {
            Value::String(text) => T::try_from(text).map_err(|invalid| invalid.to_string()),
            Value::Null => Err("must not be null: no field can be removed".to_owned()),
            _ => Err("must be a string".to_owned()),
        };
        value.map_err(|detail| self.errors.push(error(field, detail))).ok()
    }

    fn require<T: TryFrom<String, Error = FieldInvalid>>(&mut self, field: &str) -> Option<T> {
        if !self.left.contains_key(field) {
            self.errors.push(error(field, "is required"));
        }
        self.take(field)
    }

    fn finish(mut self) -> Result<(), BodyError> {
        let unknown = self.left.keys().map(|field| error(field, "is not a field of a user"));
        self.errors.extend(unknown);
        if self.errors.is_empty() { Ok(()) } else { Err(BodyError::Fields(self.errors)) }
    }
}

/// An error at a field: the pointer is escaped as RFC 6901 has it.
fn error(field: &str, detail: impl Into<String>) -> FieldError {
    let pointer = match field {
        "" => String::new(),
        field => format!("/{}", field.replace('~', "~0").replace('/', "~1")),
    };
    FieldError { pointer, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pointers(result: Result<UserCommand, BodyError>) -> Vec<String> {
        match result {
            Err(BodyError::Fields(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_create_takes_name_and_email_and_is_active_unless_it_says_otherwise() {
        let UserCommand::Create(details) = create(br#"{"name":"Ada","email":"ada@example.com"}"#).unwrap() else {
            panic!("not a create");
        };
        assert_eq!((details.name.as_str(), details.status), ("Ada", Status::Active));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let body = br#"{"name":7,"status":"asleep","a/b~c":1,"id":"x"}"#;
        let mut pointers = pointers(create(body));
        pointers.sort();
        assert_eq!(pointers, ["/a~1b~0c", "/email", "/id", "/name", "/status"]);
    }

    #[test]
    fn a_null_in_a_merge_patch_is_refused_and_an_empty_patch_is_not() {
        assert_eq!(pointers(update(br#"{"name":null}"#)), ["/name"]);
        assert_eq!(update(b"{}"), Ok(UserCommand::Update(Patch::default())));
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        assert_eq!(pointers(create(b"[]")), [""]);
        for wrong in [&b""[..], b"{", b"\xff", b"{\"name\":\"\xff\"}", "[".repeat(20_000).as_bytes()] {
            assert!(matches!(create(wrong), Err(BodyError::Syntax(_))));
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_the_parser(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (create(&body), update(&body));
        }
    }
}
