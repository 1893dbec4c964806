//! SQS: the embedded server, and the queues between write-fn and ingest-fn on this or another server.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError;
use aws_sdk_sqs::types::QueueAttributeName;
use kernel::ingest::RECEIVES_MIN;
use kernel::record::{DEAD_LETTER_RETENTION, QUEUE_RETENTION};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::QueueType;
use crate::sqs::{OpenError, SqsServer};

/// The name of the file in the data directory.
const FILE_NAME: &str = "sqs.sqlite";
/// The time in which the requests under way must finish at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The name of the queue, without the suffix of its type.
const NAME: &str = "watershed-commands";
/// The name of the dead-letter queue, without the suffix of its type.
const DEAD_LETTERS_NAME: &str = "watershed-commands-dlq";
/// The time that a received message stays invisible: at least six times the function's timeout, and the poller's window.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(20);
/// The deliveries until a message becomes a dead letter. The number is high, because deferrals count as well.
pub const RECEIVES_MAX: u32 = RECEIVES_MIN;
/// The error of an embedded SQS that does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No port is free.
    #[error("cannot serve the queues")]
    Serve(#[from] io::Error),
}

/// A running embedded SQS.
#[derive(Debug)]
pub struct Server {
    /// The URL of the server.
    pub url: String,
    stop: CancellationToken,
    serving: TaskTracker,
}

impl Server {
    /// Opens the file in `data_dir`, or queues in memory, and serves them.
    pub async fn start(data_dir: Option<&Path>) -> Result<Self, ServerError> {
        let server = match data_dir {
            Some(data_dir) => SqsServer::open(&data_dir.join(FILE_NAME))?,
            None => SqsServer::in_memory()?,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, serving) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        serving.spawn(async move {
            if let Err(error) = server.serve(listener, stopped).await {
                eprintln!("sqs | the server failed: {error}");
            }
        });
        serving.close();
        Ok(Self { url, stop, serving })
    }

    /// Finishes the requests under way. It does not wait for a long poll.
    pub async fn stop(&self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(GRACE, self.serving.wait()).await;
    }
}

/// The error of a queue that cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare queue {queue}")]
pub struct QueueError {
    queue: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

/// The queue, and its dead-letter queue.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    /// The queue.
    pub main: Queue,
    /// The queue for messages that used up their deliveries.
    pub dead_letters: Queue,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The URL that requests use.
    pub url: String,
    /// The ARN that events and policies use.
    pub arn: String,
}

/// The approximate numbers of messages.
#[derive(Debug, Serialize)]
pub struct QueueStatus {
    url: String,
    visible: Option<u64>,
    in_flight: Option<u64>,
    delayed: Option<u64>,
    dead_lettered: Option<u64>,
}

impl Queues {
    /// Creates the missing queues, and sets the attributes of all.
    pub async fn prepare(client: Client, queue_type: QueueType) -> Result<Self, QueueError> {
        let preparation = |name| Preparation { client: &client, queue_type, name: full_name(name, queue_type) };
        let dead_letters = preparation(DEAD_LETTERS_NAME).run(DEAD_LETTER_RETENTION, None).await?;
        let main = preparation(NAME).run(QUEUE_RETENTION, Some(&dead_letters)).await?;
        Ok(Self { client, main, dead_letters })
    }

    /// Returns the client of the queues.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the approximate numbers of messages.
    pub async fn status(&self) -> QueueStatus {
        let [main, dead] = [&self.main, &self.dead_letters].map(|queue| counts(&self.client, &queue.url));
        let ([visible, in_flight, delayed], [dead, dead_in_flight, _]) = futures::future::join(main, dead).await;
        // A dead letter that an operator is inspecting is in flight, and counts as well.
        let dead_lettered = dead.zip(dead_in_flight).map(|(visible, in_flight)| visible + in_flight);
        QueueStatus { url: self.main.url.clone(), visible, in_flight, delayed, dead_lettered }
    }
}

/// Returns the name with the suffix that SQS requires for the type.
fn full_name(name: &str, queue_type: QueueType) -> String {
    match queue_type {
        QueueType::Standard => name.to_owned(),
        QueueType::Fifo => format!("{name}.fifo"),
    }
}

struct Preparation<'a> {
    client: &'a Client,
    queue_type: QueueType,
    name: String,
}

impl Preparation<'_> {
    async fn run(&self, retention: Duration, dead_letters: Option<&Queue>) -> Result<Queue, QueueError> {
        let url = match self.client.get_queue_url().queue_name(&self.name).send().await {
            Ok(found) => found.queue_url,
            Err(error) if error.as_service_error().is_some_and(GetQueueUrlError::is_queue_does_not_exist) => {
                self.create().await?
            }
            Err(error) => return Err(self.failed(error)),
        };
        let url = url.ok_or_else(|| self.failed("SQS returned no URL"))?;
        self.configure(&url, retention, dead_letters).await?;
        let request = self.client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = request.send().await.map_err(|error| self.failed(error))?.attributes.unwrap_or_default();
        let arn = attributes.get(&QueueAttributeName::QueueArn).cloned();
        Ok(Queue { url, arn: arn.ok_or_else(|| self.failed("SQS returned no ARN"))? })
    }

    async fn create(&self) -> Result<Option<String>, QueueError> {
        let create = self.client.create_queue().queue_name(&self.name);
        let create = match self.queue_type {
            QueueType::Standard => create,
            QueueType::Fifo => create.attributes(QueueAttributeName::FifoQueue, "true"),
        };
        Ok(create.send().await.map_err(|error| self.failed(error))?.queue_url)
    }

    async fn configure(&self, url: &str, retention: Duration, dead_letters: Option<&Queue>) -> Result<(), QueueError> {
        let set = self
            .client
            .set_queue_attributes()
            .queue_url(url)
            .attributes(QueueAttributeName::VisibilityTimeout, VISIBILITY_TIMEOUT.as_secs().to_string())
            .attributes(QueueAttributeName::MessageRetentionPeriod, retention.as_secs().to_string());
        let set = match dead_letters {
            Some(queue) => {
                let policy = serde_json::json!({"deadLetterTargetArn": queue.arn, "maxReceiveCount": RECEIVES_MAX});
                set.attributes(QueueAttributeName::RedrivePolicy, policy.to_string())
            }
            None => set,
        };
        set.send().await.map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn failed(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> QueueError {
        QueueError { queue: self.name.clone(), cause: cause.into() }
    }
}

/// Returns the numbers of visible, in-flight and delayed messages. `None` means that the queue does not report it.
async fn counts(client: &Client, url: &str) -> [Option<u64>; 3] {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let request = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
    let attributes = request.send().await.ok().and_then(|response| response.attributes).unwrap_or_default();
    names.map(|name| attributes.get(&name)?.parse().ok())
}
