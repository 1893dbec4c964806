//! A sample resource with a state machine: orders, which are paid and shipped, or cancelled.

use resource::Resource;
use resource::machine::StateMachine;
use resource::value::{Choice, Integer, Text};
use serde::{Deserialize, Serialize};

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
#[resource(kind = "O", collection = "orders", machine = "status: Status", machine_list = "i2")]
pub struct Order {
    /// What the tenant calls it.
    #[resource(unique, list = "i3")]
    pub reference: Text<50>,
    /// Who ordered.
    #[resource(list = "i4")]
    pub customer: Text<100>,
    /// How many.
    pub quantity: Integer<1, 1_000_000>,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
pub enum Status {
    /// It waits for the money.
    #[default]
    Open,
    /// The money is there.
    Paid,
    /// It is on its way to the customer.
    Shipped,
    /// Nothing comes of it.
    Cancelled,
}

/// What is done with an order.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Action {
    /// The money has come.
    Pay,
    /// It was sent off.
    Ship,
    /// The customer, or the tenant, does not want it any more.
    Cancel,
}

impl StateMachine for Status {
    type Action = Action;

    fn next(self, action: Action) -> Option<Self> {
        match (action, self) {
            (Action::Pay, Self::Open) => Some(Self::Paid),
            (Action::Ship, Self::Paid) => Some(Self::Shipped),
            (Action::Cancel, Self::Open | Self::Paid) => Some(Self::Cancelled),
            _ => None,
        }
    }
}
