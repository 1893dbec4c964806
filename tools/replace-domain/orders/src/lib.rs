//! The domain of orders: a reference that is unique in the tenant, a customer, a quantity, and a status.
//!
//! Pure functions and values only. The flow that they run in is the [`kernel`]'s.

mod decide;
pub mod field;
pub mod list;
mod request;
mod stored;
mod view;

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision, DecodeError, Domain};
use kernel::ids::{AggregateId, AggregateKey, Kind, Stamp, Tenant};
use kernel::ports::{Claim, IndexEntry};
use kernel::problem::Problem;
use kernel::project::Projection;
use kernel::query::ListScope;
use resource::{BodyError, FilterError, Operation, Parameters, Resource};
use serde::{Deserialize, Serialize};

use crate::field::{Customer, Quantity, Reference, Status};

/// The domain of orders.
#[derive(Debug, Clone, Copy)]
pub struct Order;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderCommand {
    /// Place an order.
    Create(Details),
    /// Set all fields.
    Replace(Details),
    /// Set the fields that are given.
    Update(Patch),
    /// End the order, as if it had never been.
    Delete,
}

/// All fields of an order that a client sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// What the customer calls it.
    pub reference: Reference,
    /// Who ordered.
    pub customer: Customer,
    /// How many.
    pub quantity: Quantity,
    /// How far it has come.
    pub status: Status,
}

/// Some fields of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// A new reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// A new customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// A new quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// A new status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEvent {
    /// An order was placed.
    OrderPlaced {
        /// Its fields.
        details: Details,
        /// The create's stamp.
        stamp: Stamp,
    },
    /// Fields of an order were set.
    OrderChanged {
        /// Those that were set; the others had been set by later commands.
        patch: Patch,
        /// The stamp that the set fields carry from now on.
        stamp: Stamp,
        /// When the command was accepted.
        accepted_at: Timestamp,
    },
    /// The order is gone.
    OrderDeleted,
}

/// A value, and the stamp of the command that set it: the later stamp wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// The value.
    pub value: T,
    /// When, and by which command, it was set.
    pub stamp: Stamp,
}

/// What is kept of an order, in the form in which it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// What the customer calls it.
    pub reference: Stamped<Reference>,
    /// Who ordered.
    pub customer: Stamped<Customer>,
    /// How many.
    pub quantity: Stamped<Quantity>,
    /// How far it has come.
    pub status: Stamped<Status>,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// When the latest change was accepted.
    pub updated_at: Timestamp,
}

impl Resource for Order {
    const COLLECTION: &'static str = "orders";
    const NAME: &'static str = "order";

    fn parse(operation: Operation, body: &[u8]) -> Result<OrderCommand, BodyError> {
        request::parse(operation, body)
    }

    fn filter(parameters: &mut Parameters) -> Result<ListScope, FilterError> {
        let [status, reference_prefix] = ["status", "reference_prefix"].map(|name| parameters.take(name));
        let filter = list::Filter::parse(status.as_deref(), reference_prefix.as_deref());
        filter.map(|filter| filter.scope()).map_err(|error| FilterError(error.to_string()))
    }
}

impl Domain for Order {
    const KIND: Kind = Kind::implied("O");
    const INDEXES: &'static [&'static str] = list::INDEXES;
    const SCHEMA: u16 = 1;

    type Command = OrderCommand;
    type Event = OrderEvent;
    type State = OrderState;

    fn creates(command: &OrderCommand) -> bool {
        matches!(command, OrderCommand::Create(_))
    }

    fn decide(state: Option<&OrderState>, command: &OrderCommand, context: &Context) -> Decision<OrderEvent> {
        decide::decide(state, command, context)
    }

    fn evolve(state: Option<OrderState>, event: OrderEvent) -> Option<OrderState> {
        decide::evolve(state, event)
    }

    fn claims(tenant: &Tenant, state: &OrderState) -> Vec<Claim> {
        vec![Claim { kind: Self::KIND, tenant: tenant.clone(), field: "reference", value: state.reference.value.digest() }]
    }

    fn claim_held(_: &Claim) -> Problem {
        Problem::new("reference-taken", 409, "Reference taken", "another order has this reference: choose another")
    }

    fn project(_: Projection, id: AggregateId, version: u64, state: &OrderState) -> Bytes {
        view::project(id, version, state)
    }

    fn index(_: Projection, key: &AggregateKey, state: &OrderState) -> Vec<IndexEntry> {
        list::index(key, state)
    }

    fn encode(state: &OrderState) -> Bytes {
        stored::encode(state)
    }

    fn decode(schema: u16, body: &[u8]) -> Result<OrderState, DecodeError> {
        stored::decode(schema, body)
    }
}

/// A cancelled order stays so.
fn cancelled() -> Problem {
    Problem::new("order-cancelled", 409, "Order cancelled", "a cancelled order stays so: place another one")
}
