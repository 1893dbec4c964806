//! GET and HEAD of an item.

use reqwest::Method;
use uuid::Uuid;

use crate::harness::Service;
use crate::harness::poll::eventually;
use crate::sample::Sample;

on_every_variant!(
    an_answer_carries_its_version_and_how_it_may_be_cached,
    an_unknown_item_is_a_404,
    a_known_version_is_not_sent_again,
    another_version_than_the_known_ones_is_sent,
    a_read_of_another_version_than_the_one_that_it_names_is_refused,
    a_read_that_names_a_new_version_finds_it_behind_every_cache,
    a_head_answers_as_a_get_without_the_body,
);

async fn an_answer_carries_its_version_and_how_it_may_be_cached(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for call in [api.get(&item.path).token(&item.token), api.get(&item.path).token(&item.token)] {
        let answer = call.send().await.expect(200);
        assert_eq!(answer.header("etag"), "\"1-v1\"");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(!answer.token().is_empty());
        if service.variant.has_caches() {
            // The cache closest to the origin comes first (RFC 9211, section 2).
            let tiers: Vec<_> = answer.header("cache-status").split(", ").collect();
            let names: Vec<_> = tiers.iter().map(|tier| tier.split(';').next().unwrap()).collect();
            assert!([&["memory"][..], &["redis", "memory"]].contains(&&*names), "{tiers:?}");
            let hits = tiers.iter().filter(|tier| tier.split(';').any(|output| output == "hit")).count();
            assert_eq!(hits == 1, answer.find("age").is_some(), "{answer}");
        } else {
            assert_eq!((answer.find("cache-status"), answer.find("age")), (None, None));
        }
    }
}

async fn an_unknown_item_is_a_404(service: &Service, sample: &Sample) {
    let path = sample.resource.item(Uuid::now_v7());
    assert_eq!(service.api().get(&path).send().await.kind(404), "not-found");
}

async fn a_known_version_is_not_sent_again(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for known in ["\"1-v1\"", "W/\"1-v1\"", "\"7\", \"1-v1\"", "W/\"7\" ,W/\"1-v1\"", "*"] {
        let answer = api.get(&item.path).token(&item.token).header("if-none-match", known).send().await;
        assert_eq!(answer.status, 304, "{known}: {answer}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), "\"1-v1\"");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert!(!answer.token().is_empty());
    }
}

async fn another_version_than_the_known_ones_is_sent(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for known in ["\"1\"", "\"1-v2\"", "\"2-v1\"", "W/\"11-v1\"", "\"\"", "\"a,1\", \"b\"", "\"a,*,b\"", "1"] {
        let answer = api.get(&item.path).token(&item.token).header("if-none-match", known).send().await;
        assert_eq!(answer.status, 200, "{known}: {answer}");
        assert_eq!(answer.json(), item.body);
    }
}

async fn a_head_answers_as_a_get_without_the_body(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let head = |path: &str| api.call(Method::HEAD, path);
    let answer = head(&item.path).token(&item.token).send().await.expect(200);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("etag"), "\"1-v1\"");
    head(&sample.path).send().await.expect(200);
    head("/health").send().await.expect(200);
    head(&sample.resource.item(Uuid::now_v7())).send().await.expect(404);
}

async fn a_read_of_another_version_than_the_one_that_it_names_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let (get, head) =
        (|| api.get(&item.path).token(&item.token), || api.call(Method::HEAD, &item.path).token(&item.token));
    for tag in ["\"9\"", "\"9-v1\"", "\"1-v2\"", "\"tag\""] {
        assert_eq!(get().if_match(tag).send().await.kind(412), "version-conflict", "{tag}");
        head().if_match(tag).send().await.expect(412);
    }
    for tag in ["*", "\"1\"", "\"1-v1\""] {
        assert_eq!(get().if_match(tag).send().await.expect(200).json(), item.body);
        head().if_match(tag).send().await.expect(200);
    }
    get().if_match("W/\"1-v1\"").send().await.expect(400);
    // `If-Match` has precedence over `If-None-Match` (RFC 9110, section 13.2.2).
    get().if_match("\"9\"").if_none_match("\"1-v1\"").send().await.expect(412);
    get().if_match("\"1\"").if_none_match("\"1-v1\"").send().await.expect(304);
    // A missing item is a 404 before any precondition is evaluated (RFC 9110, section 13.2.1).
    let nowhere = sample.resource.item(Uuid::now_v7());
    for tag in ["*", "\"1\"", "\"tag\""] {
        assert_eq!(api.get(&nowhere).if_match(tag).send().await.kind(404), "not-found", "{tag}");
    }
}

async fn a_read_that_names_a_new_version_finds_it_behind_every_cache(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for version in 2..=4 {
        // Fills the caches with the earlier version.
        api.reread(&item).await;
        let written = api.patch(&item.path, &sample.patch(&format!("version {version}"))).write().await.expect(200);
        assert_eq!(written.version, Some(version));
        let read = async || api.get(&item.path).if_match(&format!("\"{version}\"")).send().await;
        let read = match service.variant.is_queued() {
            // The projection may lag for a moment.
            true => {
                eventually("the named version is there", async || Some(read().await).filter(|it| it.status == 200))
                    .await
            }
            false => read().await.expect(200),
        };
        assert_eq!(read.json()["version"], version);
    }
}
