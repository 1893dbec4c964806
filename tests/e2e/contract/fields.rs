//! What only users have: the shapes of their fields, and filters of their own.

use serde_json::json;

use crate::harness::{Answer, Api, Service, unique};
use crate::sample::{PATH, full_body, value};

on_every_variant!(
    a_field_has_a_type_and_a_length,
    users_of_one_name_are_all_in_the_list,
    an_email_address_finds_its_user_in_any_case,
    a_prefix_finds_names_in_any_case,
);

async fn a_field_has_a_type_and_a_length(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let long = |n: usize| "x".repeat(n);
    for (field, wrong) in [
        ("name", json!("")),
        ("name", json!(long(101))),
        ("name", json!("ü".repeat(101))),
        ("name", json!(long(50_000))),
        ("name", json!(["A"])),
        ("name", json!({"first": "A"})),
        ("name", json!(true)),
        ("email", json!("ada")),
        ("email", json!("ada@")),
        ("email", json!("ada@example..com")),
        ("email", json!("ada lovelace@example.com")),
        ("email", json!("ada@example.com\n")),
        ("email", json!(format!("{}@{}.{}.{}.{}.com", long(64), long(63), long(63), long(63), long(63)))),
        ("email", json!(1)),
        ("status", json!("ACTIVE")),
        ("status", json!("")),
        ("status", json!(0)),
    ] {
        let answer = api.patch(&user.path, &json!({field: wrong})).send().await;
        assert_eq!(answer.status, 422, "{field}: {wrong}: {answer}");
        assert_eq!(answer.wrong_fields(), [format!("/{field}")]);
    }
    let longest = json!({"name": "ü".repeat(100),
        "email": format!("{}@{}.example.com", long(64 - 20) + &unique("e")[..4], long(63))});
    api.patch(&user.path, &longest).write().await.expect(200);
}

async fn list(api: &Api, query: &str) -> Answer {
    api.get(&format!("{PATH}?{query}")).send().await.expect(200)
}

fn names(page: &Answer) -> Vec<String> {
    let page = page.json();
    page["items"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect()
}

async fn named(api: &Api, name: &str) {
    api.user_of(&full_body(name, &value(&unique("named")))).await;
}

async fn users_of_one_name_are_all_in_the_list(service: &Service) {
    let api = service.api();
    let name = unique("same");
    for _ in 0..3 {
        named(&api, &name).await;
    }
    let first = list(&api, &format!("name_prefix={name}&limit=2")).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = list(&api, &format!("name_prefix={name}&limit=2&cursor={cursor}")).await;
    assert_eq!((names(&first).len(), names(&second).len()), (2, 1), "{first} {second}");
    assert_ne!(first.json()["items"][1]["id"], second.json()["items"][0]["id"]);
}

async fn an_email_address_finds_its_user_in_any_case(service: &Service) {
    let api = service.api();
    let word = unique("found");
    let user = api.user_of(&full_body("Found", &value(&format!("{word}+tag")))).await;
    for email in [format!("{word}%2Btag@example.com"), format!("{}%2Btag%40EXAMPLE.com", word.to_uppercase())] {
        let found = list(&api, &format!("email={email}")).await;
        assert_eq!(found.json()["items"], json!([user.body]), "{found}");
    }
    assert_eq!(list(&api, &format!("email=not-{word}@example.com")).await.json()["items"], json!([]));
}

async fn a_prefix_finds_names_in_any_case(service: &Service) {
    let api = service.api();
    let word = unique("prefix");
    let upper = format!("{} É Upper", word.to_uppercase());
    let listed = [upper.clone(), format!("{word} é lower"), format!("{word} other"), format!("x {word}")];
    for name in &listed {
        named(&api, name).await;
    }
    let both = list(&api, &format!("name_prefix={word}+%C3%A9")).await;
    assert_eq!(names(&both), [listed[1].clone(), upper.clone()]);
    let one = list(&api, &format!("name_prefix={}%20%C3%89%20UP", word.to_uppercase())).await;
    assert_eq!(names(&one), [upper]);
    assert_eq!(names(&list(&api, &format!("name_prefix={word}%25")).await), [""; 0]);
}
