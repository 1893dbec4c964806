//! The behavior of SQS on which the service relies, checked with the real SDK on the local server. If `WATERSHED_MINISTACK_URL` is
//! set, the checks also run on ministack, to prove that the local server behaves like another implementation.

use std::collections::BTreeSet;
use std::time::Duration;

use adapters::clients;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName as System,
    QueueAttributeName as Attribute, SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
};
use futures::FutureExt;
use local::sqs::SqsServer;
use tokio::net::TcpListener;

use crate::harness::gaps::assert_known;

/// The timeout of each wait.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(20);

/// The known differences between ministack and SQS.
const MINISTACK_GAPS: &[(&str, &str)] = &[
    ("a_deleted_message_does_not_come_again", "deleting twice is an error, where SQS answers success again"),
    ("an_older_receipt_deletes_nothing", "an older receipt is an error, where SQS answers success"),
    ("a_dead_letter_can_be_taken_back_and_gets_a_new_identity", "it has no StartMessageMoveTask"),
];

macro_rules! checks {
    ($($check:ident),+ $(,)?) => {
        const CHECKS: &[&str] = &[$(stringify!($check)),+];

        async fn run_check(name: &str, queue: Queue) {
            match name {
                $(stringify!($check) => $check(queue).await,)+
                other => panic!("no check is called {other}"),
            }
        }
    };
}

checks!(
    a_message_arrives_as_it_was_sent,
    message_attributes_arrive_with_their_digest,
    a_received_message_is_hidden_and_comes_again,
    a_deleted_message_does_not_come_again,
    visibility_can_be_changed_and_ended,
    an_older_receipt_deletes_nothing,
    a_message_that_nobody_handles_becomes_a_dead_letter,
    a_dead_letter_can_be_taken_back_and_gets_a_new_identity,
    a_receive_waits_for_a_message,
    a_batch_reports_each_entry,
    a_wrong_batch_is_refused_as_a_whole,
    a_message_that_is_too_large_is_refused,
    characters_that_xml_forbids_are_refused,
    a_standard_queue_keeps_the_tenants_group,
    a_fifo_queue_keeps_order_within_a_group_and_blocks_it_while_in_flight,
    a_fifo_queue_drops_what_was_sent_before,
    a_fifo_message_needs_a_group_and_a_deduplication_id,
    counts_tell_visible_and_hidden_messages_apart,
    what_does_not_exist_is_said_not_to,
    creating_a_queue_again_is_fine_unless_it_differs,
);

/// A client of a server, and a prefix for the queues of one check.
#[derive(Debug, Clone)]
struct Queue {
    client: Client,
    prefix: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn our_sqs_server_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let server = SqsServer::open(&dir.path().join("sqs.sqlite")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(server.serve(listener, std::future::pending()));
    run_all(&url, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_conforms_but_for_its_known_gaps() {
    match std::env::var("WATERSHED_MINISTACK_URL") {
        Ok(url) => run_all(&url, MINISTACK_GAPS).await,
        Err(_) => println!("skipped: WATERSHED_MINISTACK_URL does not say where ministack serves"),
    }
}

/// Runs all checks in parallel. Asserts that exactly the known gaps failed.
async fn run_all(url: &str, gaps: &[(&str, &str)]) {
    let client = clients::sqs(&clients::local(url));
    let checks = CHECKS.iter().map(|name| {
        let queue = Queue { client: client.clone(), prefix: format!("{name:.40}-{:08x}", rand::random::<u32>()) };
        async move { (*name, tokio::spawn(run_check(name, queue)).map(|ended| ended.is_ok()).await) }
    });
    let results = futures::future::join_all(checks).await;
    let failed: BTreeSet<_> = results.iter().filter(|(_, passed)| !passed).map(|(name, _)| *name).collect();
    assert_known(&failed, gaps);
}

impl Queue {
    async fn create(&self, name: &str, attributes: &[(Attribute, &str)]) -> String {
        let mut create = self.client.create_queue().queue_name(self.name(name));
        for (attribute, value) in attributes {
            create = create.attributes(attribute.clone(), *value);
        }
        create.send().await.unwrap().queue_url.unwrap()
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn standard(&self) -> String {
        self.create("", &[(Attribute::VisibilityTimeout, "30")]).await
    }

    async fn fifo(&self) -> String {
        self.create(".fifo", &[(Attribute::FifoQueue, "true"), (Attribute::VisibilityTimeout, "30")]).await
    }

    async fn send(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    async fn send_fifo(&self, url: &str, body: &str, group: &str, deduplication: &str) {
        let send = self.client.send_message().queue_url(url).message_body(body);
        send.message_group_id(group).message_deduplication_id(deduplication).send().await.unwrap();
    }

    async fn receive_for(&self, url: &str, seconds: i32) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(url).max_number_of_messages(10);
        let receive = receive.wait_time_seconds(seconds).message_system_attribute_names(System::All);
        receive.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default()
    }

    async fn receive(&self, url: &str) -> Vec<Message> {
        self.receive_for(url, 0).await
    }

    /// Waits for the next messages.
    async fn next(&self, url: &str) -> Vec<Message> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let messages = self.receive_for(url, 1).await;
            if !messages.is_empty() {
                return messages;
            }
            assert!(tokio::time::Instant::now() < deadline, "no message came");
        }
    }

    /// Waits until this number of messages is reported as moved. A message may arrive before it is counted.
    async fn has_moved(&self, source: &str, messages: i64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let tasks = self.client.list_message_move_tasks().source_arn(source).send().await.unwrap();
            if tasks.results()[0].approximate_number_of_messages_moved() == messages {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{tasks:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn show_again(&self, url: &str, message: &Message) {
        let change = self.client.change_message_visibility().queue_url(url).visibility_timeout(0);
        change.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    }

    async fn delete(&self, url: &str, message: &Message) {
        let delete = self.client.delete_message().queue_url(url);
        delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
    }

    async fn arn(&self, url: &str) -> String {
        self.attribute(url, Attribute::QueueArn).await
    }

    async fn attribute(&self, url: &str, name: Attribute) -> String {
        let answer = self.client.get_queue_attributes().queue_url(url).attribute_names(name.clone()).send().await;
        answer.unwrap().attributes.unwrap().remove(&name).unwrap()
    }

    /// Creates a queue whose messages are dead letters after two receives. Returns it with its dead-letter queue.
    async fn with_dead_letters(&self) -> (String, String) {
        let dead = self.create("-dlq", &[]).await;
        let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":2}}"#, self.arn(&dead).await);
        (self.create("", &[(Attribute::RedrivePolicy, &policy)]).await, dead)
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter_map(Message::body).collect()
}

fn system<'a>(message: &'a Message, name: &System) -> Option<&'a str> {
    message.attributes()?.get(name).map(String::as_str)
}

async fn a_message_arrives_as_it_was_sent(queue: Queue) {
    let url = queue.standard().await;
    let body = "{\"käse\":\"✓ 🧀\",\"tab\":\"\t\"}";
    queue.send(&url, body).await;
    let messages = queue.receive(&url).await;
    assert_eq!(bodies(&messages), [body]);
    assert_eq!(system(&messages[0], &System::ApproximateReceiveCount), Some("1"));
    let sent: u64 = system(&messages[0], &System::SentTimestamp).unwrap().parse().unwrap();
    assert!(sent > 1_700_000_000_000, "{sent} is not in milliseconds");
}

async fn message_attributes_arrive_with_their_digest(queue: Queue) {
    let url = queue.standard().await;
    let attribute =
        |text: &str| MessageAttributeValue::builder().data_type("String").string_value(text).build().unwrap();
    let number = MessageAttributeValue::builder().data_type("Number").string_value("7").build().unwrap();
    let send = queue.client.send_message().queue_url(&url).message_body("x");
    // The SDK compares the digests of the sent and the received attributes.
    send.message_attributes("b", attribute("two")).message_attributes("a", number).send().await.unwrap();
    let messages = queue.receive(&url).await;
    assert_eq!(messages[0].message_attributes().unwrap()["b"].string_value(), Some("two"));
}

async fn a_received_message_is_hidden_and_comes_again(queue: Queue) {
    let url = queue.create("", &[(Attribute::VisibilityTimeout, "1")]).await;
    queue.send(&url, "x").await;
    assert_eq!(queue.receive(&url).await.len(), 1);
    assert!(queue.receive(&url).await.is_empty());
    let again = queue.next(&url).await;
    assert_eq!(system(&again[0], &System::ApproximateReceiveCount), Some("2"));
}

async fn a_deleted_message_does_not_come_again(queue: Queue) {
    let url = queue.standard().await;
    queue.send(&url, "x").await;
    let messages = queue.receive(&url).await;
    queue.delete(&url, &messages[0]).await;
    queue.delete(&url, &messages[0]).await;
    assert!(queue.receive_for(&url, 1).await.is_empty());
}

async fn visibility_can_be_changed_and_ended(queue: Queue) {
    let url = queue.standard().await;
    queue.send(&url, "x").await;
    let messages = queue.receive(&url).await;
    queue.show_again(&url, &messages[0]).await;
    assert_eq!(bodies(&queue.next(&url).await), ["x"]);
}

async fn an_older_receipt_deletes_nothing(queue: Queue) {
    let url = queue.standard().await;
    queue.send(&url, "x").await;
    let first = queue.receive(&url).await;
    queue.show_again(&url, &first[0]).await;
    let second = queue.next(&url).await;
    queue.delete(&url, &first[0]).await;
    queue.show_again(&url, &second[0]).await;
    assert_eq!(bodies(&queue.next(&url).await), ["x"]);
}

async fn a_message_that_nobody_handles_becomes_a_dead_letter(queue: Queue) {
    let (url, dead) = queue.with_dead_letters().await;
    queue.send(&url, "x").await;
    for _ in 0..2 {
        let messages = queue.next(&url).await;
        queue.show_again(&url, &messages[0]).await;
    }
    assert!(queue.receive(&url).await.is_empty());
    assert_eq!(bodies(&queue.next(&dead).await), ["x"]);
}

async fn a_dead_letter_can_be_taken_back_and_gets_a_new_identity(queue: Queue) {
    let (url, dead) = queue.with_dead_letters().await;
    queue.send(&url, "x").await;
    let mut id = None;
    for _ in 0..2 {
        let messages = queue.next(&url).await;
        id = messages[0].message_id.clone();
        queue.show_again(&url, &messages[0]).await;
    }
    assert!(queue.receive(&url).await.is_empty());
    let source = queue.arn(&dead).await;
    queue.client.start_message_move_task().source_arn(&source).send().await.unwrap();
    let back = queue.next(&url).await;
    assert_eq!(bodies(&back), ["x"]);
    assert_ne!(back[0].message_id, id);
    queue.has_moved(&source, 1).await;
}

async fn a_receive_waits_for_a_message(queue: Queue) {
    let url = queue.standard().await;
    let (waiting, ()) = tokio::join!(queue.receive_for(&url, 1), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        queue.send(&url, "x").await;
    });
    assert_eq!(bodies(&waiting), ["x"]);
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

async fn a_batch_reports_each_entry(queue: Queue) {
    let url = queue.standard().await;
    let send = queue.client.send_message_batch().queue_url(&url);
    let sent =
        send.entries(entry("a", "one")).entries(entry("b", "bad\u{1}")).entries(entry("c", "three")).send().await;
    let sent = sent.unwrap();
    assert_eq!(sent.successful().iter().map(SendMessageBatchResultEntry::id).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(sent.failed().iter().map(|entry| (entry.id(), entry.sender_fault())).collect::<Vec<_>>(), [("b", true)]);
    let messages = queue.receive(&url).await;
    let mut delete = queue.client.delete_message_batch().queue_url(&url);
    for (place, message) in messages.iter().enumerate() {
        let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
        delete = delete.entries(entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap());
    }
    assert_eq!(delete.send().await.unwrap().successful().len(), 2);
}

async fn a_wrong_batch_is_refused_as_a_whole(queue: Queue) {
    let url = queue.standard().await;
    let send = |entries: Vec<SendMessageBatchRequestEntry>| {
        queue.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let eleven = (0..11).map(|number| entry(&number.to_string(), "x")).collect();
    for (entries, code) in [
        (vec![], "EmptyBatchRequest"),
        (eleven, "TooManyEntriesInBatchRequest"),
        (vec![entry("a", "x"), entry("a", "y")], "BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "x")], "InvalidBatchEntryId"),
    ] {
        let error = send(entries).await.unwrap_err();
        assert!(error.code().unwrap().ends_with(code), "{error:?}");
    }
    assert!(queue.receive(&url).await.is_empty());
}

async fn a_message_that_is_too_large_is_refused(queue: Queue) {
    let url = queue.standard().await;
    let send = |bytes| queue.client.send_message().queue_url(&url).message_body("x".repeat(bytes)).send();
    send(1_048_576).await.unwrap();
    let error = send(1_048_577).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.contains("InvalidParameterValue")), Some(true), "{error:?}");
}

async fn characters_that_xml_forbids_are_refused(queue: Queue) {
    let url = queue.standard().await;
    let error = queue.client.send_message().queue_url(&url).message_body("a\u{1}b").send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidMessageContents"));
}

async fn a_standard_queue_keeps_the_tenants_group(queue: Queue) {
    let url = queue.standard().await;
    let send = queue.client.send_message().queue_url(&url).message_body("x");
    send.message_group_id("tenant").send().await.unwrap();
    let messages = queue.receive(&url).await;
    assert_eq!(system(&messages[0], &System::MessageGroupId), Some("tenant"));
}

async fn a_fifo_queue_keeps_order_within_a_group_and_blocks_it_while_in_flight(queue: Queue) {
    let url = queue.fifo().await;
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        queue.send_fifo(&url, body, group, body).await;
    }
    let one = |url: String| async move {
        let receive = queue.client.receive_message().queue_url(&url).max_number_of_messages(1);
        let messages = receive.message_system_attribute_names(System::All).send().await.unwrap().messages;
        (queue, messages.unwrap_or_default())
    };
    let (queue, first) = one(url.clone()).await;
    assert_eq!(bodies(&first), ["a1"]);
    assert!(system(&first[0], &System::SequenceNumber).is_some());
    // While a1 is in flight, a2 is blocked and b1 is not.
    let others = queue.receive(&url).await;
    assert_eq!(bodies(&others), ["b1"]);
    queue.delete(&url, &first[0]).await;
    assert_eq!(bodies(&queue.next(&url).await), ["a2"]);
}

async fn a_fifo_queue_drops_what_was_sent_before(queue: Queue) {
    let url = queue.fifo().await;
    queue.send_fifo(&url, "x", "g", "same").await;
    let messages = queue.receive(&url).await;
    queue.delete(&url, &messages[0]).await;
    queue.send_fifo(&url, "x", "g", "same").await;
    assert!(queue.receive_for(&url, 1).await.is_empty());
}

async fn a_fifo_message_needs_a_group_and_a_deduplication_id(queue: Queue) {
    let url = queue.fifo().await;
    let send = || queue.client.send_message().queue_url(&url).message_body("x");
    let error = send().message_deduplication_id("d").send().await.unwrap_err();
    assert_eq!(
        error.code().map(|code| code.contains("MissingParameter") || code.contains("MissingRequired")),
        Some(true),
        "{error:?}"
    );
    let error = send().message_group_id("g").send().await.unwrap_err();
    assert_eq!(error.code().map(|code| code.contains("InvalidParameterValue")), Some(true), "{error:?}");
}

async fn counts_tell_visible_and_hidden_messages_apart(queue: Queue) {
    let url = queue.standard().await;
    for body in ["a", "b", "c"] {
        queue.send(&url, body).await;
    }
    queue.client.receive_message().queue_url(&url).max_number_of_messages(1).send().await.unwrap();
    assert_eq!(queue.attribute(&url, Attribute::ApproximateNumberOfMessages).await, "2");
    assert_eq!(queue.attribute(&url, Attribute::ApproximateNumberOfMessagesNotVisible).await, "1");
}

async fn what_does_not_exist_is_said_not_to(queue: Queue) {
    let missing = queue.client.get_queue_url().queue_name(queue.name("-missing")).send().await.unwrap_err();
    assert!(missing.as_service_error().unwrap().is_queue_does_not_exist());
    let url = queue.standard().await;
    let delete = queue.client.delete_message().queue_url(&url).receipt_handle("rubbish").send().await.unwrap_err();
    assert!(delete.as_service_error().unwrap().is_receipt_handle_is_invalid());
}

async fn creating_a_queue_again_is_fine_unless_it_differs(queue: Queue) {
    let url = queue.standard().await;
    assert_eq!(queue.standard().await, url);
    let create = queue.client.create_queue().queue_name(queue.name(""));
    let differs = create.attributes(Attribute::VisibilityTimeout, "31").send().await.unwrap_err();
    assert!(differs.as_service_error().unwrap().is_queue_name_exists());
}
