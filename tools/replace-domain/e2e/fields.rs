//! What only orders have: the shapes of their fields, filters and rules of their own.

use serde_json::json;

use crate::harness::{Service, unique};
use crate::sample::{PATH, full_body};

on_every_variant!(a_field_has_a_type_and_a_length, a_prefix_finds_references_in_any_case, a_cancelled_order_stays_so,);

async fn a_field_has_a_type_and_a_length(service: &Service) {
    let api = service.api();
    let order = api.any_user().await;
    for (field, wrong) in [
        ("reference", json!("")),
        ("reference", json!("a b")),
        ("reference", json!("x".repeat(101))),
        ("reference", json!(1)),
        ("customer", json!("")),
        ("customer", json!("ü".repeat(101))),
        ("customer", json!(["A"])),
        ("quantity", json!(0)),
        ("quantity", json!(10_001)),
        ("quantity", json!(1.5)),
        ("quantity", json!(-1)),
        ("quantity", json!("3")),
        ("status", json!("PAID")),
        ("status", json!(0)),
    ] {
        let answer = api.patch(&order.path, &json!({field: wrong})).send().await;
        assert_eq!(answer.status, 422, "{field}: {wrong}: {answer}");
        assert_eq!(answer.wrong_fields(), [format!("/{field}")]);
    }
    let longest =
        json!({"customer": "ü".repeat(100), "reference": format!("{:x<100}", unique("r")), "quantity": 10_000});
    let written = api.patch(&order.path, &longest).write().await.expect(200);
    assert_eq!(api.user(&written).await.body["quantity"], 10_000);
}

async fn a_prefix_finds_references_in_any_case(service: &Service) {
    let api = service.api();
    let word = unique("Prefix");
    let mut orders = Vec::new();
    for reference in [format!("{word}-a"), format!("{}-B", word.to_uppercase()), format!("x-{word}")] {
        orders.push(api.user_of(&full_body("Listed", &reference)).await.body);
    }
    let found = api.get(&format!("{PATH}?reference_prefix={}-", word.to_lowercase())).send().await.expect(200);
    assert_eq!(found.json()["items"], json!(orders[..2]));
}

async fn a_cancelled_order_stays_so(service: &Service) {
    let api = service.api();
    let order = api.any_user().await;
    api.patch(&order.path, &json!({"status": "cancelled"})).write().await.expect(200);
    let revived = api.patch(&order.path, &json!({"status": "paid"})).write().await;
    assert_eq!(revived.kind(409), "order-cancelled");
    api.patch(&order.path, &json!({"quantity": 4})).write().await.expect(200);
}
