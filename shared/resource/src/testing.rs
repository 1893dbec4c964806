//! The tests that every resource must pass. `resource::test_resource!(users::User)` in a test file runs all of them; the fuzz
//! targets run some of them with their own inputs.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

pub mod cases;
mod forms;
mod inputs;
mod samples;

pub use self::forms::{keys_are_computed_as_before, messages_are_written_as_before, states_are_stored_as_before};
pub use self::inputs::{command_body, envelope, query_string, stored_item};
pub use self::samples::{is_wide, view_after, walks};
use crate::Resource;
pub use crate::field::{beginning, full_body, of_value, parameter, text_of};

/// Returns bodies of a create with one invalid field each, with the name of that field.
#[must_use]
pub fn wrong_bodies(fields: &[crate::Field]) -> Vec<(&'static str, String)> {
    let full = full_body(fields, 1);
    let mut bodies = Vec::new();
    for field in fields.iter().filter(|field| field.is_settable) {
        let others = full.as_object().unwrap().iter().filter(|(name, _)| *name != field.name);
        let others: Vec<_> = others.map(|(name, value)| format!("{name:?}:{value}")).collect();
        for wrong in field.wrong {
            let fields = [others.clone(), vec![format!("{:?}:{wrong}", field.name)]].concat();
            bodies.push((field.name, format!("{{{}}}", fields.join(","))));
        }
    }
    bodies
}

/// Checks that each invalid value of a field is refused with an error that points to the field, and that each sample is
/// accepted.
pub fn valid_values_are_accepted_and_invalid_ones_refused<R: Resource>() {
    for number in 0..100 {
        let body = full_body(R::FIELDS, number).to_string();
        R::parse(crate::Operation::Create, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error:?}"));
    }
    for (field, body) in wrong_bodies(R::FIELDS) {
        match R::parse(crate::Operation::Create, body.as_bytes()) {
            Err(crate::BodyError::Fields(errors)) => {
                let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
                assert_eq!(pointers, [crate::body::pointer(field)], "{body}");
            }
            // The JSON library does not accept the text as a number.
            Err(crate::BodyError::Syntax(_)) => {}
            Ok(command) => panic!("{body} is accepted: {command:?}"),
        }
    }
    for field in R::FIELDS.iter().filter(|field| field.is_required) {
        let mut body = full_body(R::FIELDS, 1);
        body.as_object_mut().unwrap().remove(field.name);
        assert!(R::parse(crate::Operation::Create, body.to_string().as_bytes()).is_err(), "without {}", field.name);
    }
}

/// Tests a resource against the golden files in `tests/golden` of its crate. A test writes missing files, and fails.
#[macro_export]
macro_rules! test_resource {
    ($resource:ty) => {
        const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

        #[test]
        fn valid_values_are_accepted_and_invalid_ones_refused() {
            $crate::testing::valid_values_are_accepted_and_invalid_ones_refused::<$resource>();
        }

        #[test]
        fn states_are_stored_as_before() {
            $crate::testing::states_are_stored_as_before::<$resource>(GOLDEN);
        }

        #[test]
        fn messages_are_written_as_before() {
            $crate::testing::messages_are_written_as_before::<$resource>(GOLDEN);
        }

        #[test]
        fn keys_are_computed_as_before() {
            $crate::testing::keys_are_computed_as_before::<$resource>(GOLDEN);
        }
    };
}
