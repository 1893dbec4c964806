//! SQS: the embedded one, and the queues between write and ingest in whichever is used.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError;
use aws_sdk_sqs::types::QueueAttributeName;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::QueueType;
use crate::sqs::{OpenError, SqsServer};

/// The file in the data directory.
const FILE_NAME: &str = "sqs.sqlite";
/// How long requests under way may take to finish at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The name of the queue, without what its type adds.
const NAME: &str = "watershed-commands";
/// Likewise, of its dead-letter queue.
const DEAD_LETTERS_NAME: &str = "watershed-commands-dlq";
/// How long a message stays invisible after it was received: six times the function's timeout, and its window.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a message is received before it goes to the dead-letter queue. Deferrals count as well, so it is generous.
pub const RECEIVES_MAX: u32 = 20;
/// How long a message is kept: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const RETENTION: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// How long a dead letter is kept: as long as SQS keeps anything.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Why there is no embedded SQS.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The file cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No port to serve on.
    #[error("cannot serve the queues")]
    Serve(#[from] io::Error),
}

/// An embedded SQS that is being served.
#[derive(Debug)]
pub struct Server {
    /// Where it is served.
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
                eprintln!("sqs | {error}");
            }
        });
        serving.close();
        Ok(Self { url, stop, serving })
    }

    /// Finishes the requests under way; one that waits for messages is not worth waiting for.
    pub async fn stop(&self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(GRACE, self.serving.wait()).await;
    }
}

/// Why the queues are not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare queue {queue}")]
pub struct QueueError {
    queue: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

/// The queues.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
    /// The queue.
    pub main: Queue,
    /// Where messages go that were received too often.
    pub dead_letters: Queue,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// As requests name it.
    pub url: String,
    /// As events and policies name it.
    pub arn: String,
}

/// How many messages there are, about.
#[derive(Debug, Serialize)]
pub struct QueueStatus {
    url: String,
    visible: Option<u64>,
    in_flight: Option<u64>,
    delayed: Option<u64>,
    dead_lettered: Option<u64>,
}

impl Queues {
    /// Creates what is absent and sets what the queues are to do.
    pub async fn prepare(client: Client, queue_type: QueueType) -> Result<Self, QueueError> {
        let preparation = |name| Preparation { client: &client, queue_type, name: full_name(name, queue_type) };
        let dead_letters = preparation(DEAD_LETTERS_NAME).run(DEAD_LETTER_RETENTION, None).await?;
        let main = preparation(NAME).run(RETENTION, Some(&dead_letters)).await?;
        Ok(Self { client, main, dead_letters })
    }

    /// The client that they were made with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How many messages there are.
    pub async fn status(&self) -> QueueStatus {
        let [main, dead] = [&self.main, &self.dead_letters].map(|queue| counts(&self.client, &queue.url));
        let ([visible, in_flight, delayed], [dead, dead_in_flight, _]) = futures::future::join(main, dead).await;
        // Somebody may be looking at a dead letter just now: it is still there.
        let dead_lettered = dead.zip(dead_in_flight).map(|(visible, in_flight)| visible + in_flight);
        QueueStatus { url: self.main.url.clone(), visible, in_flight, delayed, dead_lettered }
    }
}

/// SQS wants the type in the name.
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
        let url = url.ok_or_else(|| self.failed("its address is unknown"))?;
        self.configure(&url, retention, dead_letters).await?;
        let asked = self.client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await.map_err(|error| self.failed(error))?.attributes.unwrap_or_default();
        let arn = attributes.get(&QueueAttributeName::QueueArn).cloned();
        Ok(Queue { url, arn: arn.ok_or_else(|| self.failed("its ARN is unknown"))? })
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

/// Visible, in flight, delayed: each `None` where the queue does not tell.
async fn counts(client: &Client, url: &str) -> [Option<u64>; 3] {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let asked = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
    let attributes = asked.send().await.ok().and_then(|answer| answer.attributes).unwrap_or_default();
    names.map(|name| attributes.get(&name)?.parse().ok())
}
