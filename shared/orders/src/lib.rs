//! A sample resource with a state machine: orders that are paid and shipped, or cancelled.

use resource::Resource;
use resource::machine::StateMachine;
use resource::value::{Choice, Integer, Text};
use serde::{Deserialize, Serialize};

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
#[resource(kind = "O", collection = "orders", machine = "status: Status", machine_list = "i2")]
pub struct Order {
    /// The name that the tenant gives to the order.
    #[resource(unique, list = "i3")]
    pub reference: Text<50>,
    /// The name of the customer.
    #[resource(list = "i4")]
    pub customer: Text<100>,
    /// The number of ordered items.
    pub quantity: Integer<1, 1_000_000>,
}

/// The progress of an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
pub enum Status {
    /// The order waits for the payment.
    #[default]
    Open,
    /// The payment has arrived.
    Paid,
    /// The order is on its way to the customer.
    Shipped,
    /// The order will not be shipped.
    Cancelled,
}

/// The actions on an order.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Action {
    /// Records the payment.
    Pay,
    /// Records that the order was sent.
    Ship,
    /// Cancels the order, for the customer or the tenant.
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
