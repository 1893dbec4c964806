//! The common tests of a resource, and the transitions of an order.

use orders::Order;
use resource::testing::cases::{Given, act, create, given, update};
use serde_json::json;

resource::test_resource!(Order);

/// Returns an order after some actions.
fn order<const N: usize>(actions: [&'static str; N]) -> Given<Order> {
    let placed = create(json!({"reference": "A-1", "customer": "Ada", "quantity": 3}));
    given([vec![placed], actions.map(act).to_vec()].concat())
}

#[test]
fn an_order_is_paid_then_shipped() {
    order([]).when(act("pay")).shows(&json!({"status": "paid", "quantity": 3}));
    order(["pay"]).when(act("ship")).shows(&json!({"status": "shipped"}));
}

#[test]
fn an_order_is_cancelled_until_it_is_shipped() {
    order([]).when(act("cancel")).shows(&json!({"status": "cancelled"}));
    order(["pay"]).when(act("cancel")).shows(&json!({"status": "cancelled"}));
    order(["pay", "ship"]).when(act("cancel")).is_rejected("wrong-state");
}

#[test]
fn nothing_is_done_twice_or_too_early() {
    order([]).when(act("ship")).is_rejected("wrong-state");
    order(["pay"]).when(act("pay")).is_rejected("wrong-state");
    order(["cancel"]).when(act("pay")).is_rejected("wrong-state");
}

#[test]
fn a_change_of_fields_leaves_the_status_and_an_action_the_fields() {
    order(["pay"]).when(update(json!({"quantity": 4}))).shows(&json!({"status": "paid", "quantity": 4}));
    order([]).when(act("cancel")).shows(&json!({"reference": "A-1", "customer": "Ada", "quantity": 3}));
}
