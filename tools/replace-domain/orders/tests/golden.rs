//! The stored form of a state, and commands as they travel, as committed texts: see docs/evolving-data.md.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use kernel::domain::Domain;
use orders::{Order, OrderCommand};

fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

#[test]
fn a_state_is_stored_and_read_as_ever() {
    let stored = golden("state-1");
    assert_eq!(Order::encode(&Order::decode(1, stored.as_bytes()).unwrap()), stored.as_bytes());
}

#[test]
fn commands_travel_and_are_read_as_ever() {
    for line in golden("commands-1").lines() {
        let command: OrderCommand = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&command).unwrap(), line);
    }
}
