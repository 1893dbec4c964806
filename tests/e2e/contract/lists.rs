//! GET of a list.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Service, User, eventually, unique};
use crate::sample::{
    LISTED, PATH, PREFIX, REFUSED_QUERIES, STATUS, STATUS_OTHER, UNIQUE, finding, full_body, held, listed, value,
};

on_every_variant!(
    a_list_is_paged_without_gaps_or_repeats_in_order,
    a_page_has_20_users_unless_the_client_says_otherwise,
    a_cursor_is_good_for_its_own_list_only,
    a_cursor_that_was_not_given_out_is_refused,
    a_status_finds_the_users_who_have_it,
    a_change_moves_a_user_and_a_delete_removes_it,
    a_user_in_a_list_is_the_user_as_it_is_read_alone,
    a_limit_is_a_number_from_1_to_100,
    parameters_that_are_unknown_repeated_combined_or_wrong_are_refused,
);

/// Users with these names, readable, so that lists show them.
async fn users(api: &Api, names: &[String]) -> Vec<User> {
    let create = |name: &String| {
        let (api, name) = (api.clone(), name.clone());
        async move { api.user_of(&listed(&name)).await }
    };
    let mut users = Vec::new();
    for names in names.chunks(8) {
        users.extend(join_all(names.iter().map(create)).await);
    }
    users
}

fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no items in {page}"));
    items.iter().map(|user| user[LISTED].as_str().unwrap().to_owned()).collect()
}

fn ids(page: &Value) -> BTreeSet<String> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no items in {page}"));
    items.iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
}

async fn page(api: &Api, query: &str) -> Answer {
    api.get(&format!("{PATH}?{query}")).send().await.expect(200)
}

/// The target of the link to the next page, which must be there exactly if the body names a cursor.
fn next(answer: &Answer) -> Option<String> {
    let cursor = answer.json()["next_cursor"].as_str().map(str::to_owned);
    let link = answer.find("link").map(|link| {
        let (target, relation) = link.strip_prefix('<').and_then(|link| link.split_once('>')).unwrap();
        assert_eq!(relation.replace(' ', ""), ";rel=\"next\"", "{answer}");
        target.to_owned()
    });
    assert_eq!(cursor.is_some(), link.is_some(), "{answer}");
    assert!(cursor.is_some() || answer.json()["next_cursor"].is_null(), "{answer}");
    if let (Some(cursor), Some(link)) = (&cursor, &link) {
        assert!(link.contains(cursor.as_str()), "{answer}");
    }
    link
}

async fn a_list_is_paged_without_gaps_or_repeats_in_order(service: &Service) {
    let api = service.api();
    let word = unique("paged");
    let mut expected: Vec<String> = (0..8).map(|n| format!("{word}-{n}")).collect();
    users(&api, &expected).await;
    expected.sort();
    for (limit, pages_expected) in [(3, 3), (4, 2), (8, 1), (1, 8)] {
        let mut link = Some(format!("{PATH}?{PREFIX}={word}&limit={limit}"));
        let (mut found, mut seen, mut pages) = (Vec::new(), BTreeSet::new(), 0);
        while let Some(path) = link {
            let answer = api.get(&path).send().await.expect(200);
            let body = answer.json();
            found.extend(names(&body));
            seen.extend(ids(&body));
            pages += 1;
            link = next(&answer);
        }
        assert_eq!((found, seen.len(), pages), (expected.clone(), expected.len(), pages_expected), "limit {limit}");
    }
}

async fn a_page_has_20_users_unless_the_client_says_otherwise(service: &Service) {
    let api = service.api();
    let word = unique("twenty");
    users(&api, &(0..21).map(|n| format!("{word}-{n:02}")).collect::<Vec<_>>()).await;
    let first = page(&api, &format!("{PREFIX}={word}")).await;
    assert_eq!(names(&first.json()).len(), 20);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = page(&api, &format!("{PREFIX}={word}&cursor={cursor}")).await;
    assert_eq!(names(&second.json()), [format!("{word}-20")]);
    assert_eq!(next(&second), None);
    let all = page(&api, &format!("{PREFIX}={word}&limit=100")).await;
    assert_eq!(names(&all.json()).len(), 21);
}

async fn a_cursor_is_good_for_its_own_list_only(service: &Service) {
    let api = service.api();
    let word = unique("own");
    let users = users(&api, &(0..3).map(|n| format!("{word}-{n}")).collect::<Vec<_>>()).await;
    let first = page(&api, &format!("{PREFIX}={word}&limit=1")).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    // Another page size is the same list.
    assert_eq!(names(&page(&api, &format!("{PREFIX}={word}&limit=2&cursor={cursor}")).await.json()).len(), 2);
    let [of_one, others @ ..] = finding(&users[0].body).map(|filter| format!("{filter}&"));
    for filter in [String::new(), format!("{PREFIX}=z&"), of_one].into_iter().chain(others) {
        api.get(&format!("{PATH}?{filter}cursor={cursor}")).send().await.expect(400);
    }
}

async fn a_cursor_that_was_not_given_out_is_refused(service: &Service) {
    let api = service.api();
    let word = unique("tampered");
    users(&api, &[format!("{word}-1"), format!("{word}-2")]).await;
    let first = page(&api, &format!("{PREFIX}={word}&limit=1")).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let half = cursor.len() / 2;
    let swap = if &cursor[half..=half] == "A" { "B" } else { "A" };
    let tampered = format!("{}{swap}{}", &cursor[..half], &cursor[half + 1..]);
    for wrong in [tampered, cursor[..half].to_owned(), format!("{cursor}A"), "x".into(), String::new(), "%FF".into()] {
        api.get(&format!("{PATH}?{PREFIX}={word}&cursor={wrong}")).send().await.expect(400);
    }
}

async fn a_status_finds_the_users_who_have_it(service: &Service) {
    let api = service.api();
    let default = api.any_user().await;
    let mut body = full_body("Other", &value(&unique("other")));
    body[STATUS] = STATUS_OTHER.into();
    let other = api.user_of(&body).await;
    // A page may be remembered from before these users were there.
    eventually("lists by status show both users", async || {
        let (mut found, mut link) = (BTreeSet::new(), Some(format!("{PATH}?{STATUS}={STATUS_OTHER}&limit=100")));
        while let Some(path) = link {
            let answer = api.get(&path).send().await.expect(200);
            let body = answer.json();
            assert!(body["items"].as_array().unwrap().iter().all(|user| user[STATUS] == STATUS_OTHER), "{answer}");
            found.extend(ids(&body));
            link = next(&answer);
        }
        assert!(!found.contains(&default.id));
        found.contains(&other.id).then_some(())
    })
    .await;
}

async fn a_change_moves_a_user_and_a_delete_removes_it(service: &Service) {
    let api = service.api();
    let (old, new) = (unique("old"), unique("new"));
    let user = users(&api, std::slice::from_ref(&old)).await.remove(0);
    assert_eq!(names(&page(&api, &format!("{PREFIX}={old}")).await.json()), std::slice::from_ref(&old));
    let renamed = api.patch(&user.path, &json!({LISTED: new})).write().await.expect(200);
    let renamed = api.user(&renamed).await;
    let shows = async |prefix: &str| names(&page(&api, &format!("{PREFIX}={prefix}")).await.json());
    assert_eq!(shows(&new).await, std::slice::from_ref(&new));
    eventually("the old name is gone", async || shows(&old).await.is_empty().then_some(())).await;
    api.delete(&user.path).write().await.expect(204);
    eventually("the user is gone", async || shows(&new).await.is_empty().then_some(())).await;
    let by_value = held(renamed.text(UNIQUE));
    eventually("nobody holds its value", async || {
        (page(&api, &by_value).await.json()["items"] == json!([])).then_some(())
    })
    .await;
}

async fn a_user_in_a_list_is_the_user_as_it_is_read_alone(service: &Service) {
    let api = service.api();
    let word = unique("alike");
    let user = users(&api, std::slice::from_ref(&word)).await.remove(0);
    assert_eq!(
        page(&api, &format!("{PREFIX}={word}")).await.json(),
        json!({"items": [user.body], "next_cursor": null})
    );
}

async fn a_limit_is_a_number_from_1_to_100(service: &Service) {
    let api = service.api();
    for right in ["1", "100"] {
        page(&api, &format!("limit={right}")).await;
    }
    for wrong in ["0", "101", "-1", "1.0", "1e1", "ten", "", "%31%00", "99999999999999999999"] {
        api.get(&format!("{PATH}?limit={wrong}")).send().await.expect(400);
    }
}

async fn parameters_that_are_unknown_repeated_combined_or_wrong_are_refused(service: &Service) {
    let api = service.api();
    for wrong in ["nope=1", "Limit=1", "limit=1&limit=1", "limit=1&limit=2", &format!("{PREFIX}={}", "x".repeat(101))]
        .iter()
        .chain(REFUSED_QUERIES)
    {
        let answer = api.get(&format!("{PATH}?{wrong}")).send().await;
        assert_eq!(answer.status, 400, "{wrong}: {answer}");
    }
}
