//! Tests for bearer tokens: scopes, and the separation of tenants.

use std::sync::{LazyLock, OnceLock};

use futures::future::LocalBoxFuture;
use reqwest::Method;
use resource::Access;
use serde_json::{Value, json};

use crate::harness::client::kind_of;
use crate::harness::tokens::{AUDIENCE, Issuer, seconds_from_now};
use crate::harness::{Api, Service, Stack, Variant, check, unique};
use crate::sample::{self, Sample};

/// All scopes of all resources.
pub static BOTH: LazyLock<String> = LazyLock::new(|| sample::scopes(&[Access::Read, Access::Write]));
/// The scopes to read all resources.
pub static READ: LazyLock<String> = LazyLock::new(|| sample::scopes(&[Access::Read]));

/// A service that verifies tokens, and the issuer that signs them.
#[derive(Debug)]
pub struct Guarded {
    pub service: Service,
    pub issuer: Issuer,
}

impl Guarded {
    /// Returns a client of the tenant, with a token that has these scopes.
    fn client(&self, tenant: &str, scope: &str) -> Api {
        self.service.api().with_bearer(&self.issuer.sign(&self.issuer.claims(tenant, "tester", scope)))
    }
}

/// Returns the shared stack with or without a queue, by the variant. With a queue, the tenant also travels in messages.
pub fn guarded(variant: Variant) -> &'static (Stack, Guarded) {
    static STACKS: [OnceLock<(Stack, Guarded)>; 2] = [const { OnceLock::new() }; 2];
    STACKS[usize::from(variant.is_queued())].get_or_init(|| {
        let issuer = Issuer::new("https://issuer.example");
        // The service reads the file once, at its start.
        let key_set = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key_set.path(), issuer.key_set().to_string()).unwrap();
        let jwks = key_set.path().to_str().unwrap();
        let stack =
            Stack::start(variant, &["--ephemeral", "--jwks", jwks, "--issuer", &issuer.url, "--audience", AUDIENCE]);
        let service = stack.service.clone();
        (stack, Guarded { service, issuer })
    })
}

/// A check of tokens, with its name.
pub type Check = (&'static str, for<'a> fn(&'a Guarded) -> LocalBoxFuture<'a, ()>);

/// Makes a test of each check, for all resources, with and without a queue. Lists the checks for services started elsewhere.
macro_rules! on_both_sides {
    ($($check:ident),+ $(,)?) => {
        pub const CHECKS: &[Check] = &[$((stringify!($check), |guarded| {
            Box::pin(async move {
                for sample in sample::all() {
                    $check(guarded, sample).await;
                }
            })
        })),+];
        on_both_sides!(@ lambda_lith LambdaLith: $($check)+);
        on_both_sides!(@ cqrs Cqrs: $($check)+);
    };
    (@ $module:ident $variant:ident: $($check:ident)+) => {
        mod $module {
            use super::{CHECKS, Variant, check, guarded};
            $(
                #[test]
                fn $check() {
                    let (stack, guarded) = guarded(Variant::$variant);
                    let (_, body) = CHECKS.iter().find(|(name, _)| *name == stringify!($check)).unwrap();
                    check(stack, body(guarded));
                }
            )+
        }
    };
}

on_both_sides!(
    a_good_token_opens_what_its_scopes_name,
    a_command_needs_the_scope_of_its_resource,
    without_a_good_token_there_is_a_401,
    a_token_that_names_no_usable_tenant_opens_nothing,
    an_item_is_not_there_for_another_tenant,
    a_command_is_not_there_for_another_tenant,
    tokens_and_cursors_are_of_no_use_to_another_tenant,
    values_and_idempotency_keys_of_two_tenants_do_not_meet,
);

async fn a_good_token_opens_what_its_scopes_name(guarded: &Guarded, sample: &Sample) {
    let tenant = unique("scopes");
    let (read, write) = (sample.resource.scope(Access::Read), sample.resource.scope(Access::Write));
    let item = guarded.client(&tenant, &format!("{read} {write}")).create(sample, &sample.body("Tenanted")).await;
    let (reader, writer) = (guarded.client(&tenant, &read), guarded.client(&tenant, &write));
    for call in [reader.get(&item.path), reader.get(&sample.path), reader.call(Method::HEAD, &item.path)] {
        call.send().await.expect(200);
    }
    reader.get("/commands/none").send().await.expect(404);
    let patch = sample.patch("Scoped");
    assert!([200, 202].contains(&writer.patch(&item.path, &patch).send().await.status));
    assert!([201, 202].contains(&writer.post(&sample.path, &sample.body("Tenanted")).send().await.status));

    let refused = [
        reader.post(&sample.path, &sample.body("Tenanted")),
        reader.put(&item.path, &sample.body("Tenanted")),
        reader.patch(&item.path, &patch),
        reader.delete(&item.path),
        writer.get(&item.path),
        writer.get(&sample.path),
        writer.get("/commands/none"),
        guarded.client(&tenant, &format!("{read}ers {}", sample.resource.collection)).get(&item.path),
        guarded.client(&tenant, "").get(&item.path),
    ];
    let actions = sample.resource.actions.iter().map(|action| reader.act(&item, action));
    // The scopes of another resource do not help.
    let others = sample.others().map(|other| {
        let scopes = [Access::Read, Access::Write].map(|access| other.resource.scope(access)).join(" ");
        guarded.client(&tenant, &scopes).get(&item.path)
    });
    for call in refused.into_iter().chain(actions).chain(others) {
        let answer = call.send_unchecked().await.expect(403);
        assert_eq!(answer.json(), json!({"message": "Forbidden"}));
    }
}

/// Checks the scopes for a command's status. The front door lets every read scope through; the function checks the command's own.
async fn a_command_needs_the_scope_of_its_resource(guarded: &Guarded, sample: &Sample) {
    if !guarded.service.variant.is_queued() {
        return; // Answers do not name commands.
    }
    let tenant = unique("scopes");
    let (read, write) = (sample.resource.scope(Access::Read), sample.resource.scope(Access::Write));
    let writer = guarded.client(&tenant, &format!("{read} {write}"));
    let created = writer.post(&sample.path, &sample.body("Scoped")).write().await.expect(201);
    let item = writer.item(&created).await;
    let mut paths = vec![created.answer.header("location").to_owned()];
    for action in sample.resource.actions.iter().take(1) {
        paths.push(writer.act(&item, action).write().await.answer.header("location").to_owned());
    }
    // A command with a key has a record from its acceptance.
    let key = unique("key");
    let pending =
        writer.patch(&item.path, &sample.patch("Later")).if_match("\"999\"").idempotency_key(&key).send().await;
    paths.push(pending.expect(202).header("location").to_owned());
    for path in paths {
        guarded.client(&tenant, &read).get(&path).send().await.expect(200);
        for other in sample.others() {
            let scope = other.resource.scope(Access::Read);
            let answer = guarded.client(&tenant, &scope).get(&path).send().await;
            let problem = answer.problem(403);
            assert_eq!(kind_of(&problem), "forbidden", "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(&read), "{problem}");
        }
    }
}

async fn without_a_good_token_there_is_a_401(guarded: &Guarded, sample: &Sample) {
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
        // The header is {"alg":"none"}.
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
        for call in [api.get(&sample.path), api.post(&sample.path, &sample.body("Tenanted"))] {
            let answer = call.send_unchecked().await.expect(401);
            assert_eq!(answer.json(), json!({"message": "Unauthorized"}));
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer}");
        }
    }
    api.get(&sample.path).send_unchecked().await.expect(401);
    // The health check and the 404 of an unknown route need no token.
    api.get("/health").send().await.expect(200);
    api.get("/nope").send().await.expect(404);
}

async fn a_token_that_names_no_usable_tenant_opens_nothing(guarded: &Guarded, sample: &Sample) {
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
        for call in [api.get(&sample.path), api.post(&sample.path, &sample.body("Tenanted"))] {
            let answer = call.send_unchecked().await;
            assert!([401, 403].contains(&answer.status), "{nobody}: {answer}");
        }
    }
}

async fn an_item_is_not_there_for_another_tenant(guarded: &Guarded, sample: &Sample) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let item = ours.create(sample, &sample.body("Tenanted")).await;
    assert_eq!(theirs.get(&item.path).send().await.kind(404), "not-found");
    for filter in sample.finding(&item.body).iter().map(String::as_str).chain([""]) {
        let list = theirs.get(&sample.list(filter)).send().await.expect(200);
        assert_eq!(list.json()["items"], json!([]), "{list}");
    }
    assert_eq!(ours.reread(&item).await.body, item.body);
}

async fn a_command_is_not_there_for_another_tenant(guarded: &Guarded, sample: &Sample) {
    if !guarded.service.variant.is_queued() {
        return;
    }
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let accepted = ours.post(&sample.path, &sample.body("Tenanted")).write().await.expect(201);
    let path = accepted.answer.header("location");
    ours.get(path).send().await.expect(200);
    assert_eq!(theirs.get(path).send().await.kind(404), "not-found");
}

async fn tokens_and_cursors_are_of_no_use_to_another_tenant(guarded: &Guarded, sample: &Sample) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let (item, _) =
        (ours.create(sample, &sample.body("Tenanted")).await, ours.create(sample, &sample.body("Tenanted")).await);
    theirs.get(&item.path).token(&item.token).send().await.expect(400);
    theirs.post(&sample.path, &sample.body("Tenanted")).token(&item.token).send().await.expect(400);
    let list = ours.get(&sample.list("limit=1")).send().await.expect(200).json();
    let cursor = list["next_cursor"].as_str().unwrap_or_else(|| panic!("{list}"));
    ours.get(&sample.list(&format!("limit=1&cursor={cursor}"))).send().await.expect(200);
    theirs.get(&sample.list(&format!("limit=1&cursor={cursor}"))).send().await.expect(400);
}

async fn values_and_idempotency_keys_of_two_tenants_do_not_meet(guarded: &Guarded, sample: &Sample) {
    let (ours, theirs) = (guarded.client(&unique("ours"), &BOTH), guarded.client(&unique("theirs"), &BOTH));
    let (body, key) = (sample.body("Tenanted"), unique("key"));
    let first = ours.post(&sample.path, &body).idempotency_key(&key).write().await.expect(201);
    let second = theirs.post(&sample.path, &body).idempotency_key(&key).write().await.expect(201);
    assert_eq!(second.answer.find("idempotency-replayed"), None);
    assert_ne!(first.id, second.id);
    theirs.item(&second).await;
    // Another subject of the same tenant has separate idempotency keys.
    let colleague = guarded.issuer.sign(&guarded.issuer.claims(&unique("other"), "colleague", &BOTH));
    let other = guarded.service.api().with_bearer(&colleague).post(&sample.path, &body).idempotency_key(&key);
    assert_eq!(other.write().await.expect(201).answer.find("idempotency-replayed"), None);
}
