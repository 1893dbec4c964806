//! Bearer tokens: who may do what, and tenants apart.

use std::sync::{LazyLock, OnceLock};

use futures::future::LocalBoxFuture;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::tokens::{AUDIENCE, Issuer, seconds_from_now};
use crate::harness::{Api, Service, Stack, Variant, check, unique};
use crate::sample::{PATH, SCOPES, TEXT, finding, full_body, value};

pub const READ: &str = SCOPES[0];
const WRITE: &str = SCOPES[1];
pub static BOTH: LazyLock<String> = LazyLock::new(|| SCOPES.join(" "));

/// A service that verifies tokens, and who signs them.
#[derive(Debug)]
pub struct Guarded {
    pub service: Service,
    pub issuer: Issuer,
}

impl Guarded {
    /// A client of that tenant with these scopes.
    fn client(&self, tenant: &str, scope: &str) -> Api {
        self.service.api().with_bearer(&self.issuer.sign(&self.issuer.claims(tenant, "tester", scope)))
    }
}

/// One for each side: with a queue the tenant travels in messages as well.
pub fn guarded(variant: Variant) -> &'static (Stack, Guarded) {
    static STACKS: [OnceLock<(Stack, Guarded)>; 2] = [const { OnceLock::new() }; 2];
    STACKS[usize::from(variant.is_queued())].get_or_init(|| {
        let issuer = Issuer::new("https://issuer.example");
        // It is read once, at the start.
        let key_set = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key_set.path(), issuer.key_set().to_string()).unwrap();
        let jwks = key_set.path().to_str().unwrap();
        let stack =
            Stack::start(variant, &["--ephemeral", "--jwks", jwks, "--issuer", &issuer.url, "--audience", AUDIENCE]);
        let service = stack.service.clone();
        (stack, Guarded { service, issuer })
    })
}

/// A check of who may do what, under its name.
pub type Check = (&'static str, for<'a> fn(&'a Guarded) -> LocalBoxFuture<'a, ()>);

/// Makes each check a test of its own on both sides, and lists them for services that are started elsewhere.
macro_rules! on_both_sides {
    ($($check:ident),+ $(,)?) => {
        pub const CHECKS: &[Check] = &[$((stringify!($check), |guarded| Box::pin($check(guarded)))),+];
        on_both_sides!(@ lambda_lith LambdaLith: $($check)+);
        on_both_sides!(@ cqrs Cqrs: $($check)+);
    };
    (@ $module:ident $variant:ident: $($check:ident)+) => {
        mod $module {
            use super::{Variant, check, guarded};
            $(
                #[test]
                fn $check() {
                    let (stack, guarded) = guarded(Variant::$variant);
                    check(stack, super::$check(guarded));
                }
            )+
        }
    };
}

on_both_sides!(
    a_good_token_opens_what_its_scopes_name,
    without_a_good_token_there_is_a_401,
    a_token_that_names_no_usable_tenant_opens_nothing,
    a_user_is_not_there_for_another_tenant,
    a_command_is_not_there_for_another_tenant,
    tokens_and_cursors_are_of_no_use_to_another_tenant,
    values_and_idempotency_keys_of_two_tenants_do_not_meet,
);

fn body() -> Value {
    full_body("Tenanted", &value(&unique("tenanted")))
}

async fn a_good_token_opens_what_its_scopes_name(guarded: &Guarded) {
    let tenant = unique("scopes");
    let user = guarded.client(&tenant, &BOTH).user_of(&body()).await;
    let (reader, writer) = (guarded.client(&tenant, READ), guarded.client(&tenant, WRITE));
    for call in [reader.get(&user.path), reader.get(PATH), reader.call(Method::HEAD, &user.path)] {
        call.send().await.expect(200);
    }
    reader.get("/commands/none").send().await.expect(404);
    let patch = json!({TEXT: "Scoped"});
    assert!([200, 202].contains(&writer.patch(&user.path, &patch).send().await.status));
    assert!([201, 202].contains(&writer.post(PATH, &body()).send().await.status));

    let refused = [
        reader.post(PATH, &body()),
        reader.put(&user.path, &body()),
        reader.patch(&user.path, &patch),
        reader.delete(&user.path),
        writer.get(&user.path),
        writer.get(PATH),
        writer.get("/commands/none"),
        guarded.client(&tenant, &format!("{READ}ers users")).get(&user.path),
        guarded.client(&tenant, "").get(&user.path),
    ];
    for call in refused {
        let answer = call.send_unchecked().await.expect(403);
        assert_eq!(answer.json(), json!({"message": "Forbidden"}));
    }
}

async fn without_a_good_token_there_is_a_401(guarded: &Guarded) {
    let api = guarded.service.api();
    let good = guarded.issuer.claims("local", "tester", &BOTH);
    let but = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        guarded.issuer.sign(&claims)
    };
    let without = |claim: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        guarded.issuer.sign(&claims)
    };
    let signed = guarded.issuer.sign(&good);
    let (head, rest) = signed.split_once('.').unwrap();
    let (payload, _) = rest.split_once('.').unwrap();
    let wrong = [
        "nonsense".to_owned(),
        format!("{head}.{payload}."),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        Issuer::new(&guarded.issuer.url).sign(&good),
        but("exp", json!(seconds_from_now(-5))),
        but("nbf", json!(seconds_from_now(60))),
        but("iss", json!("https://somebody.example")),
        but("aud", json!("something-else")),
        without("exp"),
        without("iss"),
        without("aud"),
    ];
    for token in wrong {
        let api = api.with_bearer(&token);
        for call in [api.get(PATH), api.post(PATH, &body())] {
            let answer = call.send_unchecked().await.expect(401);
            assert_eq!(answer.json(), json!({"message": "Unauthorized"}));
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer}");
        }
    }
    api.get(PATH).send_unchecked().await.expect(401);
    // Nobody needs a token to learn that the service lives, or that a route does not exist.
    api.get("/health").send().await.expect(200);
    api.get("/nope").send().await.expect(404);
}

async fn a_token_that_names_no_usable_tenant_opens_nothing(guarded: &Guarded) {
    let mut nobody = guarded.issuer.claims("", "tester", &BOTH);
    let tenants = [
        json!(""),
        json!("a#b"),
        json!("a b"),
        json!("x".repeat(200)),
        json!(["acme"]),
        json!({"id": "acme"}),
        json!(false),
        json!(true),
        Value::Null,
    ];
    for tenant in tenants {
        nobody["tenant_id"] = tenant;
        let api = guarded.service.api().with_bearer(&guarded.issuer.sign(&nobody));
        for call in [api.get(PATH), api.post(PATH, &body())] {
            let answer = call.send_unchecked().await;
            assert!([401, 403].contains(&answer.status), "{nobody}: {answer}");
        }
    }
}

async fn a_user_is_not_there_for_another_tenant(guarded: &Guarded) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let user = ours.user_of(&body()).await;
    assert_eq!(theirs.get(&user.path).send().await.kind(404), "not-found");
    for filter in finding(&user.body).iter().map(String::as_str).chain([""]) {
        let list = theirs.get(&format!("{PATH}?{filter}")).send().await.expect(200);
        assert_eq!(list.json()["items"], json!([]), "{list}");
    }
    assert_eq!(ours.reread(&user).await.body, user.body);
}

async fn a_command_is_not_there_for_another_tenant(guarded: &Guarded) {
    if !guarded.service.variant.is_queued() {
        return;
    }
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let accepted = ours.post(PATH, &body()).write().await.expect(201);
    let path = accepted.answer.header("location");
    ours.get(path).send().await.expect(200);
    assert_eq!(theirs.get(path).send().await.kind(404), "not-found");
}

async fn tokens_and_cursors_are_of_no_use_to_another_tenant(guarded: &Guarded) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let (user, _) = (ours.user_of(&body()).await, ours.user_of(&body()).await);
    theirs.get(&user.path).token(&user.token).send().await.expect(400);
    theirs.post(PATH, &body()).token(&user.token).send().await.expect(400);
    let list = ours.get(&format!("{PATH}?limit=1")).send().await.expect(200).json();
    let cursor = list["next_cursor"].as_str().unwrap_or_else(|| panic!("{list}"));
    ours.get(&format!("{PATH}?limit=1&cursor={cursor}")).send().await.expect(200);
    theirs.get(&format!("{PATH}?limit=1&cursor={cursor}")).send().await.expect(400);
}

async fn values_and_idempotency_keys_of_two_tenants_do_not_meet(guarded: &Guarded) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let (body, key) = (body(), unique("key"));
    let first = ours.post(PATH, &body).idempotency_key(&key).write().await.expect(201);
    let second = theirs.post(PATH, &body).idempotency_key(&key).write().await.expect(201);
    assert_eq!(second.answer.find("idempotency-replayed"), None);
    assert_ne!(first.id, second.id);
    theirs.user(&second).await;
    // Another subject of the same tenant has keys of its own as well.
    let colleague = guarded.issuer.sign(&guarded.issuer.claims(&unique("other"), "colleague", &BOTH));
    let other = guarded.service.api().with_bearer(&colleague).post(PATH, &body).idempotency_key(&key);
    assert_eq!(other.write().await.expect(201).answer.find("idempotency-replayed"), None);
}
