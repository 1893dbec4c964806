//! Request bodies become commands here, or a list of everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use kernel::problem::FieldError;
use resource::Operation;
use resource::body::{Body, BodyError, Given, pointer};

use crate::field::{FieldInvalid, Status};
use crate::{Details, Patch, UserCommand};

/// Reads the body of a request.
pub(crate) fn parse(operation: Operation, body: &[u8]) -> Result<UserCommand, BodyError> {
    match operation {
        Operation::Create => details(body).map(UserCommand::Create),
        Operation::Replace => details(body).map(UserCommand::Replace),
        Operation::Update => update(body),
        Operation::Delete => Ok(UserCommand::Delete),
    }
}

/// Reads the body of an update: a JSON merge patch (RFC 7396). No field can be removed, so `null` is refused.
fn update(body: &[u8]) -> Result<UserCommand, BodyError> {
    let mut fields = Fields::parse(body)?;
    let patch = Patch { name: fields.take("name"), email: fields.take("email"), status: fields.take("status") };
    fields.finish()?;
    Ok(UserCommand::Update(patch))
}

/// `name` and `email`, and `status` if it shall not be `active`.
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

/// The fields of a body that are still to be read, and the errors in the others.
struct Fields {
    left: BTreeMap<String, Given>,
    twice: BTreeSet<String>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let Body { value, twice } = Body::parse(body).map_err(|error| BodyError::Syntax(error.to_string()))?;
        match value {
            Given::Object(left) => Ok(Self { left, twice, errors: Vec::new() }),
            _ => Err(BodyError::Fields(vec![FieldError {
                pointer: String::new(),
                detail: "must be a JSON object".to_owned(),
            }])),
        }
    }

    fn take<T: TryFrom<String, Error = FieldInvalid>>(&mut self, field: &str) -> Option<T> {
        let value = match self.left.remove(field)? {
            Given::Text(text) => T::try_from(text).map_err(|invalid| invalid.to_string()),
            Given::Null => Err("must not be null: no field can be removed".to_owned()),
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
        // Each place is named once.
        self.errors.retain(|error| !self.twice.contains(&error.pointer));
        let twice = |pointer| FieldError { pointer, detail: "is given twice".to_owned() };
        self.errors.extend(self.twice.into_iter().map(twice));
        if self.errors.is_empty() { Ok(()) } else { Err(BodyError::Fields(self.errors)) }
    }
}

fn error(field: &str, detail: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer(field), detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn create(body: &[u8]) -> Result<UserCommand, BodyError> {
        parse(Operation::Create, body)
    }

    fn replace(body: &[u8]) -> Result<UserCommand, BodyError> {
        parse(Operation::Replace, body)
    }

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
    fn a_key_that_is_given_twice_is_named_once_also_inside_a_field() {
        let details = r#""name":"Ada","email":"ada@example.com""#;
        for (body, expected) in [
            (format!(r#"{{{details},"name":"Ada"}}"#), &["/name"][..]),
            (format!(r#"{{{details},"name":7,"name":7,"status":"asleep"}}"#), &["/name", "/status"]),
            (format!(r#"{{{details},"status":{{"a":1,"a":2}}}}"#), &["/status", "/status/a"]),
            (format!(r#"{{{details},"x":1,"x":2}}"#), &["/x"]),
        ] {
            for parse in [create, replace, update] {
                let mut pointers = pointers(parse(body.as_bytes()));
                pointers.sort();
                assert_eq!(pointers, expected, "{body}");
            }
        }
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

    #[test]
    fn a_body_that_names_a_switch_of_the_json_library_is_a_body_with_an_unknown_field() {
        // The library's own `Value` takes this key for a request to parse the text behind it.
        let hidden = r#"{"$serde_json::private::RawValue":"{\"name\":\"Ada\",\"email\":\"ada@example.com\"}"}"#;
        assert_eq!(pointers(update(hidden.as_bytes())), ["/$serde_json::private::RawValue"]);
    }

    #[test]
    fn a_field_without_a_name_is_not_the_whole_body() {
        assert_eq!(pointers(update(br#"{"":1}"#)), ["/"]);
        assert_eq!(pointers(update(b"1")), [""]);
    }

    #[test]
    fn no_depth_of_nesting_ends_the_process() {
        let parse = || {
            for body in [nested(30_000), nested_in_texts(60), "{\"name\":".repeat(7_000)] {
                assert!(body.len() < 64 * 1024, "the front door refuses larger bodies: {}", body.len());
                assert!(create(body.as_bytes()).is_err() && update(body.as_bytes()).is_err());
            }
        };
        // An eighth of what a thread of the service has.
        std::thread::Builder::new().stack_size(256 * 1024).spawn(parse).unwrap().join().unwrap();
    }

    fn nested(depth: usize) -> String {
        format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    }

    /// As deep as the library's limit allows, and there a text that holds the same again.
    fn nested_in_texts(levels: usize) -> String {
        let mut inner = "[]".to_owned();
        for _ in 0..levels {
            // A backslash and a code stand for a quote in a text: at every level one backslash is added, not doubled.
            let text = inner.replace('\\', "\\u005c").replace('"', "\\u0022");
            let object = format!("{{\"$serde_json::private::RawValue\":\"{text}\"}}");
            inner = format!("{}{object}{}", "[".repeat(120), "]".repeat(120));
        }
        format!("{{\"name\":{inner}}}")
    }

    /// What may be said for a field: mostly what is right, or nearly.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\"(Ada|active|suspended|ada@example\\.com|)\"",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            "(null|true|-0|1e5|[1-9][0-9]{0,29}|\\[\\]|\\{\\}|\\[\\{\"a\":[1]\\}\\])",
        ]
    }

    fn body() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            4 => "(name|email|status)".prop_map(|name| name),
            1 => "[a-zA-Z/~$:_]{0,12}",
            1 => Just("$serde_json::private::RawValue".to_owned()),
        ];
        let field = (name, value()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(",")))
    }

    proptest! {
        #[test]
        fn no_body_panics_the_parser(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (create(&body), replace(&body), update(&body));
        }

        #[test]
        fn a_body_is_a_command_that_travels_or_every_error_points_into_it(body in body()) {
            for result in [create(body.as_bytes()), replace(body.as_bytes()), update(body.as_bytes())] {
                match result {
                    Ok(command) => {
                        let text = serde_json::to_string(&command).unwrap();
                        prop_assert_eq!(serde_json::from_str::<UserCommand>(&text).unwrap(), command);
                    }
                    Err(BodyError::Fields(errors)) => {
                        let mut pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
                        prop_assert!(!pointers.is_empty() && pointers.iter().all(|at| at.starts_with('/')));
                        pointers.sort_unstable();
                        pointers.dedup();
                        prop_assert_eq!(pointers.len(), errors.len(), "each field is named once");
                    }
                    Err(BodyError::Syntax(reason)) => prop_assert!(false, "{}", reason),
                }
            }
        }

        #[test]
        fn only_the_three_fields_of_a_user_are_taken(name in "[a-zA-Z$:_]{1,32}", value in value()) {
            prop_assume!(!["name", "email", "status"].contains(&name.as_str()));
            let body = format!("{{\"{name}\":{value}}}");
            prop_assert_eq!(pointers(update(body.as_bytes())), [format!("/{name}")]);
        }
    }
}
