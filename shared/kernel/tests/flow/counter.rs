//! Counters: the smallest domain with creates, unique keys, rejections, lists and deletes. Its stored form has changed once.

use bytes::Bytes;
use kernel::domain::{Context, Decision, DecodeError, Domain};
use kernel::ids::{AggregateId, AggregateKey, Kind, Tenant};
use kernel::ports::{IndexEntry, Slot, UniqueKey};
use kernel::problem::Problem;
use kernel::projection::Projection;
use serde::{Deserialize, Serialize};

/// Version 1 counts in euros, version 2 in cents. Only the schema version distinguishes their forms. Code that ignores it is wrong
/// by a factor of 100.
///
/// The kind is the implied one, or one that the forms name.
#[derive(Debug)]
pub(crate) struct Counter<const SCHEMA: u16 = 1, const IS_NAMED: bool = false>;

/// The kind of counters.
pub(crate) const KIND: Kind = Kind::implied("C");

const CENTS_PER_EURO: u32 = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CounterCommand {
    Open { label: String },
    Add(u32),
    Relabel { label: String },
    Close,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CounterState {
    pub(crate) label: String,
    pub(crate) total: u32,
}

#[derive(Debug)]
pub(crate) enum CounterEvent {
    Changed(CounterState),
    Closed,
}

impl<const SCHEMA: u16, const IS_NAMED: bool> Counter<SCHEMA, IS_NAMED> {
    /// Returns the factor from an amount of version `from` to one of this version.
    fn factor(from: u16) -> Result<u32, DecodeError> {
        match (from, SCHEMA) {
            (1, 1) | (2, 2) => Ok(1),
            (1, 2) => Ok(CENTS_PER_EURO),
            _ => Err(DecodeError::UnknownSchema(from)),
        }
    }
}

impl<const SCHEMA: u16, const IS_NAMED: bool> Domain for Counter<SCHEMA, IS_NAMED> {
    const KIND: Kind = if IS_NAMED { Kind::new("N") } else { KIND };
    const SCHEMA: u16 = SCHEMA;
    const COMMAND_SCHEMA: u16 = SCHEMA;

    type Command = CounterCommand;
    type Event = CounterEvent;
    type State = CounterState;

    fn creates(command: &CounterCommand) -> bool {
        matches!(command, CounterCommand::Open { .. })
    }

    fn decide(state: Option<&CounterState>, command: &CounterCommand, _: &Context) -> Decision<CounterEvent> {
        let state = state.cloned().unwrap_or(CounterState { label: String::new(), total: 0 });
        let next = match command {
            CounterCommand::Close => return Decision::Accept(CounterEvent::Closed),
            CounterCommand::Add(0) => return Decision::Reject(Problem::new("zero", 422, "Zero", "add something")),
            CounterCommand::Add(count) => CounterState { total: state.total + count, ..state },
            CounterCommand::Open { label } | CounterCommand::Relabel { label } => {
                CounterState { label: label.clone(), ..state }
            }
        };
        Decision::Accept(CounterEvent::Changed(next))
    }

    fn evolve(_: Option<CounterState>, event: CounterEvent) -> Option<CounterState> {
        match event {
            CounterEvent::Changed(state) => Some(state),
            CounterEvent::Closed => None,
        }
    }

    fn unique_keys(tenant: &Tenant, state: &CounterState) -> Vec<UniqueKey> {
        vec![UniqueKey { kind: Self::KIND, tenant: tenant.clone(), field: "label", value: state.label.clone() }]
    }

    fn unique_key_held(_: &UniqueKey) -> Problem {
        Problem::new("label-taken", 409, "Label taken", "choose another")
    }

    fn project(projection: Projection, _: AggregateId, version: u64, state: &CounterState) -> Bytes {
        let view = format!("{}={}@{version}", state.label, state.total);
        match projection {
            Projection::FIRST => view.into(),
            later => format!("{later}: {view}").into(),
        }
    }

    fn index(_: Projection, key: &AggregateKey, state: &CounterState) -> Vec<IndexEntry> {
        vec![IndexEntry {
            slot: Slot::I1,
            partition: format!("C#{}", key.tenant),
            sort: format!("{}#{}", state.label, key.id),
        }]
    }

    fn encode(state: &CounterState) -> Bytes {
        serde_json::to_vec(state).unwrap().into()
    }

    fn decode(schema: u16, body: &[u8]) -> Result<CounterState, DecodeError> {
        let factor = Self::factor(schema)?;
        let CounterState { label, total } = serde_json::from_slice(body)?;
        Ok(CounterState { label, total: total * factor })
    }

    fn decode_command(schema: u16, body: &str) -> Result<CounterCommand, DecodeError> {
        let factor = Self::factor(schema)?;
        Ok(match serde_json::from_str(body)? {
            CounterCommand::Add(amount) => CounterCommand::Add(amount * factor),
            other => other,
        })
    }
}
