//! Request bodies become commands here, or a list of everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use kernel::problem::FieldError;
use resource::Operation;
use resource::body::{Body, BodyError, Given, pointer};

use crate::field::{FieldInvalid, Quantity, Status};
use crate::{Details, OrderCommand, Patch};

/// Reads the body of a request.
pub(crate) fn parse(operation: Operation, body: &[u8]) -> Result<OrderCommand, BodyError> {
    match operation {
        Operation::Create => details(body).map(OrderCommand::Create),
        Operation::Replace => details(body).map(OrderCommand::Replace),
        Operation::Update => update(body),
        Operation::Delete => Ok(OrderCommand::Delete),
    }
}

/// Reads the body of an update: a JSON merge patch (RFC 7396). No field can be removed, so `null` is refused.
fn update(body: &[u8]) -> Result<OrderCommand, BodyError> {
    let mut fields = Fields::parse(body)?;
    let patch = Patch {
        reference: fields.text("reference"),
        customer: fields.text("customer"),
        quantity: fields.quantity(),
        status: fields.text("status"),
    };
    fields.finish()?;
    Ok(OrderCommand::Update(patch))
}

/// `reference`, `customer` and `quantity`, and `status` if it shall not be `placed`.
fn details(body: &[u8]) -> Result<Details, BodyError> {
    let mut fields = Fields::parse(body)?;
    fields.require(&["reference", "customer", "quantity"]);
    let (reference, customer, quantity) = (fields.text("reference"), fields.text("customer"), fields.quantity());
    let status = fields.text("status").unwrap_or(Status::Placed);
    fields.finish()?;
    match (reference, customer, quantity) {
        (Some(reference), Some(customer), Some(quantity)) => Ok(Details { reference, customer, quantity, status }),
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

    fn text<T: TryFrom<String, Error = FieldInvalid>>(&mut self, field: &str) -> Option<T> {
        self.take(field, |given| match given {
            Given::Text(text) => T::try_from(text),
            _ => Err(FieldInvalid::NoText),
        })
    }

    fn quantity(&mut self) -> Option<Quantity> {
        self.take("quantity", |given| match given {
            Given::Number(number) => {
                u32::try_from(number).map_err(|_| FieldInvalid::Quantity).and_then(Quantity::try_from)
            }
            _ => Err(FieldInvalid::Quantity),
        })
    }

    fn take<T>(&mut self, field: &str, read: impl FnOnce(Given) -> Result<T, FieldInvalid>) -> Option<T> {
        let value = match self.left.remove(field)? {
            Given::Null => Err("must not be null: no field can be removed".to_owned()),
            given => read(given).map_err(|invalid| invalid.to_string()),
        };
        value.map_err(|detail| self.errors.push(error(field, detail))).ok()
    }

    fn require(&mut self, fields: &[&str]) {
        let missing = fields.iter().filter(|field| !self.left.contains_key(**field));
        self.errors.extend(missing.map(|field| error(field, "is required")));
    }

    fn finish(mut self) -> Result<(), BodyError> {
        let unknown = self.left.keys().map(|field| error(field, "is not a field of an order"));
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
    use super::*;

    fn create(body: &[u8]) -> Result<OrderCommand, BodyError> {
        parse(Operation::Create, body)
    }

    fn pointers(result: Result<OrderCommand, BodyError>) -> Vec<String> {
        match result {
            Err(BodyError::Fields(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_is_placed_unless_it_says_otherwise() {
        let OrderCommand::Create(details) = create(br#"{"reference":"A-1","customer":"Ada","quantity":3}"#).unwrap()
        else {
            panic!("not a create");
        };
        assert_eq!((u32::from(details.quantity), details.status), (3, Status::Placed));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let mut pointers = pointers(create(br#"{"customer":7,"quantity":"3","status":"sent","a/b~c":1}"#));
        pointers.sort();
        assert_eq!(pointers, ["/a~1b~0c", "/customer", "/quantity", "/reference", "/status"]);
    }

    #[test]
    fn a_key_that_is_given_twice_is_named_once_also_inside_a_field() {
        let body = br#"{"quantity":0,"quantity":3,"customer":{"a":1,"a":2}}"#;
        let mut pointers = pointers(update(body));
        pointers.sort();
        assert_eq!(pointers, ["/customer", "/customer/a", "/quantity"]);
    }

    #[test]
    fn a_quantity_is_a_whole_number_in_its_range() {
        for wrong in ["0", "-1", "1.5", "10001", "99999999999999999999", "true", "[]", "null", "\"1\""] {
            assert_eq!(pointers(update(format!("{{\"quantity\":{wrong}}}").as_bytes())), ["/quantity"], "{wrong}");
        }
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        assert_eq!(pointers(create(b"[]")), [""]);
        for wrong in [&b""[..], b"{", b"\xff"] {
            assert!(matches!(create(wrong), Err(BodyError::Syntax(_))));
        }
    }

    #[test]
    fn no_depth_of_nesting_ends_the_process() {
        let parse = || {
            for body in ["[".repeat(60_000), "{\"customer\":".repeat(5_000)] {
                assert!(create(body.as_bytes()).is_err() && update(body.as_bytes()).is_err());
            }
        };
        // An eighth of what a thread of the service has.
        std::thread::Builder::new().stack_size(256 * 1024).spawn(parse).unwrap().join().unwrap();
    }
}
