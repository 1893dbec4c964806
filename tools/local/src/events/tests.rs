use std::net::Ipv4Addr;

use http::Request;
use http_body_util::BodyExt;
use serde_json::json;

use super::*;

fn event_of(request: http::request::Builder, body: &'static [u8]) -> Value {
    let (head, ()) = request.body(()).unwrap().into_parts();
    let claims = Claims::from([("sub".to_owned(), "s".to_owned())]);
    let scopes = ["users:read".to_owned()];
    let origin = Origin {
        route_key: "GET /users/{id}",
        path_parameters: &BTreeMap::from([("id", "7".to_owned())]),
        authorization: Some((&claims, &scopes)),
        source_ip: Ipv4Addr::LOCALHOST.into(),
        port: 3000,
        request_id: "r",
    };
    serde_json::from_slice(&event(&head, &Bytes::from_static(body), &origin).unwrap()).unwrap()
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri).header("host", "api.example:3000")
}

#[test]
fn a_request_becomes_an_event_of_payload_format_2() {
    let event = event_of(get("/users/7?a=1").header("user-agent", "test/1"), b"");
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["routeKey"], "GET /users/{id}");
    assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/users/7"), &json!("a=1")));
    assert_eq!(event["pathParameters"], json!({"id": "7"}));
    assert_eq!((event.get("body"), &event["isBase64Encoded"]), (None, &json!(false)));
    let context = &event["requestContext"];
    assert_eq!(context["authorizer"], json!({"jwt": {"claims": {"sub": "s"}, "scopes": ["users:read"]}}));
    assert_eq!((&context["domainName"], &context["domainPrefix"]), (&json!("api.example"), &json!("api")));
    let http = json!({"method": "GET", "path": "/users/7", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test/1"});
    assert_eq!(context["http"], http);
    assert_eq!((&context["stage"], &context["requestId"]), (&json!("$default"), &json!("r")));
    assert!(context["timeEpoch"].as_i64().unwrap() > 1_700_000_000_000);
    assert!(context["time"].as_str().unwrap().ends_with(" +0000"));
}

#[test]
fn headers_are_in_lower_case_and_joined() {
    let request = get("/").header("X-Two", "a").header("X-Two", "b").header("Connection", "keep-alive");
    let event = event_of(request.header("X-Forwarded-For", "10.0.0.1"), b"");
    assert_eq!(event["headers"]["x-two"], "a,b");
    assert_eq!(event["headers"].get("connection"), None);
    assert_eq!(event["headers"]["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-port"], "3000");
}

/// A chunked request has no header with a length.
#[test]
fn the_length_in_an_event_is_that_of_the_body() {
    let chunked = get("/").header("transfer-encoding", "chunked");
    assert_eq!(event_of(chunked, b"chunks")["headers"]["content-length"], "6");
    assert_eq!(event_of(get("/"), b"")["headers"]["content-length"], "0");
    assert_eq!(event_of(get("/").header("content-length", "2"), b"ab")["headers"]["content-length"], "2");
}

#[test]
fn cookies_have_a_field_of_their_own() {
    let event = event_of(get("/").header("cookie", "a=1; b=2").header("cookie", "c=3"), b"");
    assert_eq!(event["cookies"], json!(["a=1", "b=2", "c=3"]));
    assert_eq!(event["headers"].get("cookie"), None);
}

#[test]
fn query_parameters_are_decoded_and_joined_while_the_raw_query_stays() {
    let event = event_of(get("/users?q=a%20b+c&n=1&n=2&flag"), b"");
    assert_eq!(event["queryStringParameters"], json!({"q": "a b c", "n": "1,2", "flag": ""}));
    assert_eq!(event["rawQueryString"], "q=a%20b+c&n=1&n=2&flag");
    assert_eq!(event_of(get("/users"), b"").get("queryStringParameters"), None);
}

#[test]
fn a_path_is_decoded_if_the_result_is_text() {
    assert_eq!(event_of(get("/users/a%20b"), b"")["rawPath"], "/users/a b");
    assert_eq!(event_of(get("/users/%ff"), b"")["rawPath"], "/users/%ff");
}

#[test]
fn bodies_of_text_types_are_text_and_others_are_base64() {
    let typed = |content_type: &str| get("/").header("content-type", content_type);
    for content_type in ["application/json", "application/merge-patch+json; charset=utf-8", "Text/Plain"] {
        let event = event_of(typed(content_type), "é".as_bytes());
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("é"), &json!(false)), "{content_type}");
    }
    for (request, body) in
        [(typed("application/json"), b"\xff".as_slice()), (typed("application/octet-stream"), b"a"), (get("/"), b"a")]
    {
        let event = event_of(request, body);
        assert_eq!(STANDARD.decode(event["body"].as_str().unwrap()).unwrap(), body);
        assert_eq!(event["isBase64Encoded"], true);
    }
}

#[tokio::test]
async fn an_answer_becomes_a_response() {
    let answer = json!({
        "statusCode": 201,
        "headers": {"Location": "/users/7", "x-number": 1, "Content-Length": "99", "connection": "close"},
        "cookies": ["a=1", "b=2"],
        "body": "{}",
        "isBase64Encoded": false,
    });
    let response = response(&answer.to_string().into()).unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let headers = response.headers();
    assert_eq!(headers["location"], "/users/7");
    assert_eq!(headers["x-number"], "1");
    assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(!headers.contains_key("content-length") && !headers.contains_key("connection"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
}

#[tokio::test]
async fn a_base64_answer_is_decoded() {
    let response = response(&r#"{"statusCode":"200","body":"/w==","isBase64Encoded":true}"#.into()).unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), &[0xff][..]);
}

#[tokio::test]
async fn json_without_a_status_code_is_a_body() {
    for answer in [r#"{"message":"hello"}"#, r#""hello""#, "null"] {
        let response = response(&answer.into()).unwrap();
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (StatusCode::OK, &HeaderValue::from_static("application/json"))
        );
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), answer);
    }
}

#[test]
fn an_answer_that_is_not_an_http_response_is_refused() {
    for answer in [
        "",
        "not json",
        r#"{"statusCode":"many"}"#,
        r#"{"statusCode":99}"#,
        r#"{"statusCode":101}"#,
        r#"{"statusCode":1000}"#,
        r#"{"statusCode":200,"body":{}}"#,
        r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        r#"{"statusCode":200,"headers":{"a":"b\nc"}}"#,
        r#"{"statusCode":200,"headers":{"a":[]}}"#,
        r#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#,
    ] {
        assert!(response(&answer.into()).is_err(), "{answer}");
    }
}

#[test]
fn an_answer_of_payload_format_1_loses_its_multi_value_headers_as_it_does_in_production() {
    let answer = r#"{"statusCode":200,"multiValueHeaders":{"x":["y"]}}"#;
    assert!(response(&answer.into()).unwrap().headers().is_empty());
}
