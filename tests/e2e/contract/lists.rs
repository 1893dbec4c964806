//! GET of a list.

use futures::future::join_all;
use resource::Field;
use serde_json::{Value, json};

use super::{CHECKED, Checked};
use crate::harness::{Answer, Api, Item, Service, eventually, unique};
use crate::sample::{OwnList, Sample, beginning, of_value, parameter};

on_every_variant!(
    a_list_is_paged_without_gaps_or_repeats_in_order,
    a_page_has_20_items_unless_the_client_says_otherwise,
    a_cursor_is_good_for_its_own_list_only,
    a_cursor_that_was_not_given_out_is_refused,
    a_value_finds_the_items_that_have_it,
    a_change_moves_an_item_and_a_delete_removes_it,
    an_item_in_a_list_is_the_item_as_it_is_read_alone,
    a_limit_is_a_number_from_1_to_100,
    parameters_that_are_unknown_repeated_combined_or_wrong_are_refused,
);

/// Creates the items of a list. Returns them in the order of the list: by their values, otherwise by age.
async fn items(api: &Api, sample: &Sample, list: &OwnList) -> Vec<Item> {
    let mut items = Vec::new();
    for bodies in list.bodies.chunks(8) {
        items.extend(join_all(bodies.iter().map(|body| api.create(sample, body))).await);
    }
    match sample.sorted {
        Some(field) => items.sort_by_key(|item| (field.beginning(item.text(field.name)).unwrap(), item.id.clone())),
        None => items.sort_by_key(|item| item.id.clone()),
    }
    items
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no items in {page}"));
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn ids_of(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| item.id.clone()).collect()
}

async fn page(api: &Api, sample: &Sample, query: &str) -> Answer {
    api.get(&sample.list(query)).send().await.expect(200)
}

/// Returns the target of the link to the next page. Checks that the link exists exactly if the body has a cursor.
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

async fn a_list_is_paged_without_gaps_or_repeats_in_order(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let lists = sample.own_lists(8);
    for list in &lists {
        let expected = ids_of(&items(&api, sample, list).await);
        for (limit, pages_expected) in [(3, 3), (4, 2), (8, 1), (1, 8)] {
            let mut link = Some(sample.list(&format!("{}&limit={limit}", list.query)));
            let (mut found, mut pages) = (Vec::new(), 0);
            while let Some(path) = link {
                let answer = api.get(&path).send().await.expect(200);
                found.extend(ids(&answer.json()));
                pages += 1;
                link = next(&answer);
            }
            assert_eq!((&found, pages), (&expected, pages_expected), "{} with limit {limit}", list.query);
        }
    }
    lists.first().map(drop)
}

async fn a_page_has_20_items_unless_the_client_says_otherwise(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let list = sample.own_lists(21).into_iter().next()?;
    let (expected, query) = (ids_of(&items(&api, sample, &list).await), &list.query);
    let first = page(&api, sample, query).await;
    assert_eq!(ids(&first.json()), expected[..20]);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = page(&api, sample, &format!("{query}&cursor={cursor}")).await;
    assert_eq!(ids(&second.json()), expected[20..]);
    assert_eq!(next(&second), None);
    let all = page(&api, sample, &format!("{query}&limit=100")).await;
    assert_eq!(ids(&all.json()), expected);
    CHECKED
}

async fn a_cursor_is_good_for_its_own_list_only(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let list = sample.own_lists(3).into_iter().next()?;
    let items = items(&api, sample, &list).await;
    let first = page(&api, sample, &format!("{}&limit=1", list.query)).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    // Another page size is valid for the same cursor.
    let second = page(&api, sample, &format!("{}&limit=2&cursor={cursor}", list.query)).await;
    assert_eq!(ids(&second.json()).len(), 2);
    let other_beginning = sample.sorted.map(|field| beginning(field, "z"));
    let others = sample.finding(&items[0].body).into_iter().filter(|query| *query != list.query);
    for query in others.chain(other_beginning) {
        let answer = api.get(&sample.list(&format!("{query}&cursor={cursor}"))).send().await;
        assert_eq!(answer.kind(400), "bad-cursor");
    }
    api.get(&sample.list(&format!("cursor={cursor}"))).send().await.expect(400);
    CHECKED
}

async fn a_cursor_that_was_not_given_out_is_refused(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let list = sample.own_lists(2).into_iter().next()?;
    items(&api, sample, &list).await;
    let first = page(&api, sample, &format!("{}&limit=1", list.query)).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let half = cursor.len() / 2;
    let swap = if &cursor[half..=half] == "A" { "B" } else { "A" };
    let tampered = format!("{}{swap}{}", &cursor[..half], &cursor[half + 1..]);
    for wrong in [tampered, cursor[..half].to_owned(), format!("{cursor}A"), "x".into(), String::new(), "%FF".into()] {
        api.get(&sample.list(&format!("{}&cursor={wrong}", list.query))).send().await.expect(400);
    }
    CHECKED
}

/// Returns whether a list shows an item. Checks that all items on it have this value.
async fn shows(api: &Api, sample: &Sample, field: &Field, value: &Value, id: &String) -> bool {
    let mut link = Some(sample.list(&format!("{}&limit=100", of_value(field, value))));
    while let Some(path) = link {
        let answer = api.get(&path).send().await.expect(200);
        let body = answer.json();
        assert!(body["items"].as_array().unwrap().iter().all(|item| item[field.name] == *value), "{answer}");
        if ids(&body).contains(id) {
            return true;
        }
        link = next(&answer);
    }
    false
}

async fn a_value_finds_the_items_that_have_it(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let one = api.any(sample).await;
    let fields: Vec<_> = sample.lists_of_value().collect();
    for field in &fields {
        // An item with another value. If bodies cannot set the field, an action changes it.
        let value = (0..8).map(field.sample).find(|value| *value != one.body[field.name]);
        let other = match (field.is_settable, value, &sample.machine) {
            (true, Some(value), _) if field.taken.is_none() => {
                api.create(sample, &sample.with(field.name, &value)).await
            }
            (false, _, Some(machine)) => {
                let item = api.any(sample).await;
                api.item(&api.act(&item, machine.walk[0]).write().await.expect(200)).await
            }
            _ => api.any(sample).await,
        };
        assert_ne!(one.body[field.name], other.body[field.name]);
        // A cached page may be older than these items.
        for (item, another) in [(&one, &other), (&other, &one)] {
            let value = &item.body[field.name];
            eventually("lists of a value show the items that have it, and no others", async || {
                let is_shown = async |item: &Item| shows(&api, sample, field, value, &item.id).await;
                (is_shown(item).await && !is_shown(another).await).then_some(())
            })
            .await;
        }
    }
    fields.first().map(drop)
}

async fn a_change_moves_an_item_and_a_delete_removes_it(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let lists = [sample.own_lists(1), sample.own_lists(1)];
    for (old, new) in lists[0].iter().zip(&lists[1]) {
        let item = items(&api, sample, old).await.remove(0);
        let shown = async |query: &str| ids(&page(&api, sample, query).await.json());
        assert_eq!(shown(&old.query).await, std::slice::from_ref(&item.id));
        let moved = api.item(&api.put(&item.path, &new.bodies[0]).write().await.expect(200)).await;
        assert_eq!(shown(&new.query).await, std::slice::from_ref(&item.id));
        eventually("the old value finds nothing", async || shown(&old.query).await.is_empty().then_some(())).await;
        api.delete(&item.path).write().await.expect(204);
        eventually("the item is gone", async || shown(&new.query).await.is_empty().then_some(())).await;
        if let Some(held) = sample.held(&moved.body) {
            eventually("nobody holds its value", async || shown(&held).await.is_empty().then_some(())).await;
        }
    }
    lists[0].first().map(drop)
}

async fn an_item_in_a_list_is_the_item_as_it_is_read_alone(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let list = sample.own_lists(1).into_iter().next()?;
    let item = items(&api, sample, &list).await.remove(0);
    assert_eq!(page(&api, sample, &list.query).await.json(), json!({"items": [item.body], "next_cursor": null}));
    CHECKED
}

async fn a_limit_is_a_number_from_1_to_100(service: &Service, sample: &Sample) {
    let api = service.api();
    for right in ["1", "100"] {
        page(&api, sample, &format!("limit={right}")).await;
    }
    for wrong in ["0", "101", "-1", "1.0", "1e1", "ten", "", "%31%00", "99999999999999999999"] {
        api.get(&sample.list(&format!("limit={wrong}"))).send().await.expect(400);
    }
}

async fn parameters_that_are_unknown_repeated_combined_or_wrong_are_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let view = api.any(sample).await.body;
    let mut wrong = ["nope=1", "Limit=1", "limit=1&limit=1", "limit=1&limit=2"].map(str::to_owned).to_vec();
    let right = sample.finding(&view);
    for (number, one) in right.iter().enumerate() {
        wrong.push(format!("{one}&{one}"));
        wrong.extend(right[number + 1..].iter().map(|other| format!("{one}&{other}")));
    }
    for field in sample.resource.fields.iter().filter(|field| field.list.is_none()) {
        wrong.push(of_value(field, &view[field.name]));
    }
    for field in sample.lists_of_value() {
        let text = crate::sample::text_of(&view[field.name]);
        let spelt = [text.to_uppercase(), format!("{text},{text}"), String::new(), "\0".to_owned(), " ".to_owned()];
        let refused = spelt.iter().filter(|text| field.key(text).is_err());
        wrong.extend(refused.map(|text| parameter(field.name, text)));
        wrong.push(format!("{}=%FF", field.name));
    }
    if let Some(field) = sample.sorted {
        let long = "x".repeat(sample.chars_max(field) + 1);
        wrong.extend(["", "\0", &long].map(|text| beginning(field, text)));
        wrong.push(format!("{}_prefix=%FF", field.name));
    }
    for wrong in wrong {
        let answer = api.get(&sample.list(&wrong)).send().await;
        assert_eq!(answer.status, 400, "{wrong}: {answer}");
    }
    let word = unique("nobody");
    for field in sample.lists_of_value().filter(|field| field.taken.is_some()) {
        assert_eq!(page(&api, sample, &of_value(field, &sample.value(field, &word))).await.json()["items"], json!([]));
    }
}
