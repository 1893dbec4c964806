//! Responses of the read side.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kernel::lookup::CommandState;
use kernel::query::{CacheResult, PageAnswer, ReadAnswer, Tier, TierReport};
use kernel::record::{CommandRecord, CommandStatus};
use kernel::token::Token;
use resource::Description;
use serde_json::{Map, Value, json};
use service::resources;
use sfv::{Integer, KeyRef, ListSerializer, key_ref, token_ref};
use shared::http::conditional::{IfMatch, etag, none_match_names};
use shared::http::path::BasePath;
use shared::http::problem::{self, HttpProblem};
use shared::http::{CACHE_STATUS, CONSISTENCY_TOKEN, PREFERENCE_APPLIED, set};
use shared::metrics::CacheReports;

/// Lets clients keep an answer. They must revalidate it before each use.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Returns the response with one item, or 404.
///
/// The checks are in the order of RFC 9110, section 13.2: a missing item, then `If-Match`, then `If-None-Match`.
pub(crate) fn item(answer: ReadAnswer, if_match: IfMatch, request: &HeaderMap) -> Response {
    let ReadAnswer { view, projection, token, age, tiers, stale } = answer;
    let tag = etag(view.version, projection);
    let mut response = match view.body {
        None => HttpProblem::not_found().into_response(),
        Some(_) if !if_match.lets_through(view.version, projection) => HttpProblem::other_tag(&tag).into_response(),
        Some(_) if none_match_names(request, &tag) => StatusCode::NOT_MODIFIED.into_response(),
        Some(body) => problem::json(StatusCode::OK, body),
    };
    if !response.status().is_client_error() {
        set(&mut response, header::ETAG, tag);
        response.headers_mut().insert(header::CACHE_CONTROL, REVALIDATE);
    }
    set(&mut response, CONSISTENCY_TOKEN, token);
    if stale {
        // This header marks a stale answer, so it is sent only with one.
        response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("handling=lenient"));
    }
    set_cache_headers(&mut response, age, tiers);
    response
}

/// Returns the response with a page of items.
pub(crate) fn page(resource: &Description, page: PageAnswer, query: &str, base: &BasePath) -> Response {
    let mut response = problem::json(StatusCode::OK, page.body);
    response.headers_mut().insert(header::CACHE_CONTROL, REVALIDATE);
    if let Some(cursor) = page.next_cursor {
        let next = base.link(format_args!("{}?{}", resource.path(), with_cursor(query, &cursor)));
        set(&mut response, header::LINK, format!("<{next}>; rel=\"next\""));
    }
    set_cache_headers(&mut response, page.age, page.tiers);
    response
}

/// Returns the query of the next page (RFC 8288): the same parameters with another cursor.
fn with_cursor(query: &str, cursor: &str) -> String {
    let same = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor");
    let mut next = form_urlencoded::Serializer::new(String::new());
    next.extend_pairs(same).append_pair("cursor", cursor).finish()
}

/// Sets `Age` (RFC 9111) and `Cache-Status` (RFC 9211), and reports the caches to the metrics. Sets neither header in the stages
/// without a cache.
fn set_cache_headers(response: &mut Response, age: Option<Duration>, tiers: Vec<TierReport>) {
    if let Some(age) = age {
        set(response, header::AGE, age.as_secs().to_string());
    }
    let mut list = ListSerializer::new();
    // The cache nearest to the origin comes first (RFC 9211, section 2). It was asked last.
    for report in tiers.iter().rev() {
        push_cache_status(&mut list, report);
    }
    if let Some(list) = list.finish() {
        set(response, CACHE_STATUS, list);
        response.extensions_mut().insert(CacheReports(tiers));
    }
}

const HIT: &KeyRef = key_ref("hit");
const TTL: &KeyRef = key_ref("ttl");
const FWD: &KeyRef = key_ref("fwd");
const DETAIL: &KeyRef = key_ref("detail");

fn push_cache_status(list: &mut ListSerializer<String>, report: &TierReport) {
    let cache = list.bare_item(match report.tier {
        Tier::Memory => token_ref("memory"),
        Tier::Redis => token_ref("redis"),
    });
    match report.result {
        CacheResult::Hit(Some(ttl)) => {
            cache.parameter(HIT, true).parameter(TTL, Integer::from(u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)))
        }
        CacheResult::Hit(None) => cache.parameter(HIT, true),
        CacheResult::Miss => cache.parameter(FWD, token_ref("miss")),
        CacheResult::TooOld => cache.parameter(FWD, token_ref("request")),
        CacheResult::Unavailable => {
            cache.parameter(FWD, token_ref("bypass")).parameter(DETAIL, token_ref("unavailable"))
        }
    };
}

/// Returns the response with the status of a command.
pub(crate) fn command(id: &str, known: CommandState, token: impl Fn(&Token) -> String, base: &BasePath) -> Response {
    let mut document = Map::new();
    document.insert("command_id".to_owned(), json!(id));
    match known {
        CommandState::Pending(accepted_at) => {
            document.insert("status".to_owned(), json!("pending"));
            document.insert("accepted_at".to_owned(), json!(accepted_at.to_string()));
        }
        CommandState::Recorded(record) => describe(&mut document, &record, token, base),
    }
    let mut response = problem::json(StatusCode::OK, Value::Object(document).to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn describe(
    document: &mut Map<String, Value>,
    record: &CommandRecord,
    token: impl Fn(&Token) -> String,
    base: &BasePath,
) {
    let mut say = |name: &str, value: Value| document.insert(name.to_owned(), value);
    let id = record.aggregate;
    // The record may be of a resource that this code does not serve: an older or a newer one.
    let resource = resources::of_kind(record.kind.as_deref());
    let href = resource.map(|resource| base.link(resource.item(id)));
    if let Some(resource) = resource {
        say(&format!("{}_id", resource.name), json!(id));
    }
    say("accepted_at", json!(record.accepted_at.to_string()));
    if let Some(completed_at) = record.completed_at {
        say("completed_at", json!(completed_at.to_string()));
    }
    match &record.status {
        CommandStatus::Pending => say("status", json!("pending")),
        CommandStatus::Applied { version } => {
            say("version", json!(version));
            href.map(|href| say("href", json!(href)));
            say("consistency_token", json!(token(&Token::of_version(record.kind.clone(), id, *version))));
            say("status", json!("applied"))
        }
        CommandStatus::Rejected { version, problem } => {
            say("version", json!(version));
            say("problem", problem::embedded(problem));
            say("status", json!("rejected"))
        }
        CommandStatus::Superseded { version } => {
            say("version", json!(version));
            href.map(|href| say("href", json!(href)));
            say("status", json!("superseded"))
        }
        CommandStatus::Failed { reason } => {
            say("reason", json!(reason));
            say("status", json!("failed"))
        }
    };
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use kernel::clock::Timestamp;
    use kernel::ids::CommandId;
    use kernel::record::RecordKey;

    use service::resources::RESOURCES;

    use super::*;

    #[test]
    fn the_cache_nearest_to_the_origin_comes_first() {
        let text = |tiers: &[(Tier, CacheResult)]| {
            let mut response = StatusCode::OK.into_response();
            let tiers = tiers.iter().map(|(tier, result)| TierReport { tier: *tier, result: *result }).collect();
            set_cache_headers(&mut response, None, tiers);
            response.headers().get(CACHE_STATUS).map(|value| value.to_str().unwrap().to_owned())
        };
        let hit = CacheResult::Hit(Some(Duration::from_millis(287_900)));
        for (tiers, expected) in [
            (&[(Tier::Memory, CacheResult::Miss), (Tier::Redis, hit)][..], "redis;hit;ttl=287, memory;fwd=miss"),
            (
                &[(Tier::Memory, CacheResult::TooOld), (Tier::Redis, CacheResult::Unavailable)],
                "redis;fwd=bypass;detail=unavailable, memory;fwd=request",
            ),
            (&[(Tier::Memory, CacheResult::Hit(None))], "memory;hit"),
        ] {
            assert_eq!(text(tiers).as_deref(), Some(expected));
        }
        assert_eq!(text(&[]), None);
    }

    async fn href(status: CommandStatus, base: &str) -> Value {
        let accepted_at = Timestamp::from_micros(1_790_000_000_000_000);
        let record = CommandRecord {
            key: RecordKey { tenant: "acme".parse().unwrap(), command: CommandId::generate(accepted_at) },
            kind: RESOURCES[0].kind.name().map(str::to_owned),
            aggregate: "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap(),
            accepted_at,
            fingerprint: None,
            status,
            completed_at: Some(accepted_at),
        };
        let response = command("c", CommandState::Recorded(record), |_| "t".to_owned(), &base.parse().unwrap());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()["href"].clone()
    }

    #[tokio::test]
    async fn the_href_of_a_command_begins_with_the_base_path() {
        for status in [CommandStatus::Applied { version: 1 }, CommandStatus::Superseded { version: 2 }] {
            let item = RESOURCES[0].item("019a0b5e-6c7b-7000-8000-000000000001");
            assert_eq!(href(status, "/prod").await, format!("/prod{item}"));
        }
    }

    #[test]
    fn the_link_to_the_next_page_begins_with_the_base_path() {
        let answer = PageAnswer { body: "{}".into(), next_cursor: Some("c".to_owned()), age: None, tiers: Vec::new() };
        let response = page(&RESOURCES[0], answer, "limit=5&cursor=b", &"/prod".parse().unwrap());
        let all = RESOURCES[0].path();
        assert_eq!(response.headers()[header::LINK], format!("</prod{all}?limit=5&cursor=c>; rel=\"next\""));
    }
}
