//! What commands do to orders.

use kernel::domain::{Context, Decision};
use kernel::ids::Stamp;

use crate::field::Status;
use crate::{Details, OrderCommand, OrderEvent, OrderState, Patch, Stamped, cancelled};

pub(crate) fn decide(state: Option<&OrderState>, command: &OrderCommand, context: &Context) -> Decision<OrderEvent> {
    match (command, state) {
        (OrderCommand::Create(details), _) => {
            Decision::Accept(OrderEvent::OrderPlaced { details: details.clone(), stamp: context.stamp })
        }
        (OrderCommand::Delete, _) => Decision::Accept(OrderEvent::OrderDeleted),
        (OrderCommand::Replace(details), Some(state)) => change(state, Patch::from(details.clone()), context),
        (OrderCommand::Update(patch), Some(state)) => change(state, patch.clone(), context),
        // The kernel asks only where there is an order.
        (OrderCommand::Replace(_) | OrderCommand::Update(_), None) => Decision::Superseded,
    }
}

/// Last writer wins, field by field, by stamp. A write that names its version has seen the fields, and always wins.
fn change(state: &OrderState, patch: Patch, context: &Context) -> Decision<OrderEvent> {
    let revives = |status: Status| state.status.value == Status::Cancelled && status != Status::Cancelled;
    if patch.status.is_some_and(revives) {
        return Decision::Reject(cancelled());
    }
    let stamp = match context.conditional {
        true => context.stamp.winning_over(state.latest_stamp()),
        false => context.stamp,
    };
    let asked = patch.clone();
    let patch = Patch {
        reference: patch.reference.filter(|_| stamp > state.reference.stamp),
        customer: patch.customer.filter(|_| stamp > state.customer.stamp),
        quantity: patch.quantity.filter(|_| stamp > state.quantity.stamp),
        status: patch.status.filter(|_| stamp > state.status.stamp),
    };
    if patch == Patch::default() && asked != patch {
        return Decision::Superseded;
    }
    Decision::Accept(OrderEvent::OrderChanged { patch, stamp, accepted_at: context.accepted_at() })
}

pub(crate) fn evolve(state: Option<OrderState>, event: OrderEvent) -> Option<OrderState> {
    match (event, state) {
        (OrderEvent::OrderPlaced { details, stamp }, _) => Some(OrderState {
            reference: Stamped { value: details.reference, stamp },
            customer: Stamped { value: details.customer, stamp },
            quantity: Stamped { value: details.quantity, stamp },
            status: Stamped { value: details.status, stamp },
            created_at: stamp.at,
            updated_at: stamp.at,
        }),
        (OrderEvent::OrderChanged { patch, stamp, accepted_at }, Some(state)) => Some(OrderState {
            reference: set(state.reference, patch.reference, stamp),
            customer: set(state.customer, patch.customer, stamp),
            quantity: set(state.quantity, patch.quantity, stamp),
            status: set(state.status, patch.status, stamp),
            created_at: state.created_at,
            updated_at: state.updated_at.max(accepted_at),
        }),
        (OrderEvent::OrderDeleted, _) | (OrderEvent::OrderChanged { .. }, None) => None,
    }
}

fn set<T>(old: Stamped<T>, new: Option<T>, stamp: Stamp) -> Stamped<T> {
    new.map_or(old, |value| Stamped { value, stamp })
}

impl OrderState {
    fn latest_stamp(&self) -> Stamp {
        self.reference.stamp.max(self.customer.stamp).max(self.quantity.stamp).max(self.status.stamp)
    }
}

impl From<Details> for Patch {
    fn from(details: Details) -> Self {
        let Details { reference, customer, quantity, status } = details;
        Self { reference: Some(reference), customer: Some(customer), quantity: Some(quantity), status: Some(status) }
    }
}

#[cfg(test)]
mod tests {
    use kernel::clock::Timestamp;
    use kernel::domain::Domain as _;
    use kernel::ids::CommandId;
    use proptest::prelude::*;

    use super::*;
    use crate::Order;
    use crate::field::{Quantity, Reference};

    fn blind(micros: u64) -> Context {
        let at = Timestamp::from_micros(micros);
        Context { stamp: Stamp { at, command: CommandId::generate(at) }, conditional: false }
    }

    fn placed() -> (OrderCommand, Context) {
        let reference = Reference::try_from("A-1".to_owned()).unwrap();
        let (customer, quantity) = ("Ada".to_owned().try_into().unwrap(), Quantity::try_from(1).unwrap());
        (OrderCommand::Create(Details { reference, customer, quantity, status: Status::Placed }), blind(1))
    }

    fn to(status: Status) -> OrderCommand {
        OrderCommand::Update(Patch { status: Some(status), ..Patch::default() })
    }

    /// Given no order, when these commands come one after the other, then this is left.
    fn run(commands: &[(OrderCommand, Context)]) -> Option<OrderState> {
        commands.iter().fold(None, |state, (command, context)| match Order::decide(state.as_ref(), command, context) {
            Decision::Accept(event) => Order::evolve(state, event),
            Decision::Superseded | Decision::Reject(_) => state,
        })
    }

    #[test]
    fn a_cancelled_order_stays_so() {
        let order = run(&[placed(), (to(Status::Cancelled), blind(2))]);
        assert_eq!(Order::decide(order.as_ref(), &to(Status::Paid), &blind(3)), Decision::Reject(cancelled()));
        let more = OrderCommand::Update(Patch { quantity: Some(Quantity::try_from(2).unwrap()), ..Patch::default() });
        assert!(matches!(Order::decide(order.as_ref(), &more, &blind(3)), Decision::Accept(_)));
    }

    #[test]
    fn a_delete_wins_over_a_later_write() {
        assert_eq!(run(&[placed(), (to(Status::Paid), blind(9)), (OrderCommand::Delete, blind(2))]), None);
    }

    proptest! {
        #[test]
        fn blind_writes_come_to_the_same_in_any_order(
            times in prop::collection::btree_set(2_u32..1_000, 1..8), turn in 0_usize..8,
        ) {
            let mut turned: Vec<u32> = times.iter().copied().collect();
            let latest = *turned.last().unwrap();
            let places = turned.len();
            turned.rotate_left(turn % places);
            let write = |at: u32| {
                let patch = Patch { quantity: Some(Quantity::try_from(at).unwrap()), ..Patch::default() };
                (OrderCommand::Update(patch), blind(at.into()))
            };
            let commands: Vec<_> = std::iter::once(placed()).chain(turned.into_iter().map(write)).collect();
            prop_assert_eq!(u32::from(run(&commands).unwrap().quantity.value), latest);
        }
    }
}
