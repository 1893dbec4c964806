//! The process of one execution environment.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::runtime_api::{self, Mailbox};
use crate::supervise::{Spawner, forward_output};

/// The time in which the last output of an ended process must arrive.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// A deployed function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name, and the program that it runs.
    pub deployed: &'static service::functions::Function,
    /// The maximum duration of an invocation.
    pub timeout: Duration,
    /// The memory in MB. The function sees it, but it is not enforced.
    pub memory_mb: u32,
    /// The packaged program, if it is not the built-in one.
    pub package: Option<PathBuf>,
}

/// The last deployment of a function.
#[derive(Debug, Default)]
pub(super) struct Deployed {
    /// The number of the deployment, which grows by one each time.
    pub(super) number: u64,
    /// All variables of the function, without those that Lambda sets.
    pub(super) variables: Vec<(String, String)>,
}

/// An environment whose process has started.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) id: u64,
    pub(super) deployment: Arc<Deployed>,
    function: String,
    pub(super) pid: u32,
    pub(super) started: Instant,
    pub(super) invocations: AtomicU64,
    pub(super) mailbox: Arc<Mailbox>,
    ending: CancellationToken,
    output: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Environment {
    pub(super) async fn start(
        id: u64,
        function: &Function,
        deployment: Arc<Deployed>,
        spawner: &Spawner,
    ) -> io::Result<(Arc<Self>, Child)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let mut child = function.spawn(id, &address, &deployment, spawner).await?;
        let output = forward_output(function.name(), &mut child);
        let environment = Arc::new(Self {
            id,
            deployment,
            function: function.name().to_owned(),
            pid: child.id().unwrap_or_default(),
            started: Instant::now(),
            invocations: AtomicU64::new(0),
            mailbox: Mailbox::new(function.name()),
            ending: CancellationToken::new(),
            output: std::sync::Mutex::new(output),
        });
        let mailbox = Arc::clone(&environment.mailbox);
        tokio::spawn(runtime_api::serve(listener, mailbox, environment.ending.clone()));
        Ok((environment, child))
    }

    /// Has the process killed, as Lambda does with an environment that it no longer needs.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    /// Waits until the process requests an invocation. The error says why it does not.
    pub(super) async fn until_ready(&self, child: &mut Child, limit: Duration) -> Result<(), String> {
        let failure = tokio::select! {
            () = self.mailbox.ready() => return Ok(()),
            status = child.wait() => format!("ended before it was ready ({})", in_words(status)),
            () = tokio::time::sleep(limit) => format!("is not ready after {} s", limit.as_secs()),
            () = self.ending.cancelled() => "is no longer needed".to_owned(),
        };
        // This also waits for the output of the process.
        self.kill(child).await;
        let reported = self.mailbox.init_error();
        let reported = reported.map(|error| format!(", and reported {}", String::from_utf8_lossy(&error)));
        Err(format!("{} {failure}{}", self.pid, reported.unwrap_or_default()))
    }

    /// Waits until the process ends, by itself or because it is no longer needed.
    pub(super) async fn until_end(&self, child: &mut Child) {
        let ended = self.ending.run_until_cancelled(child.wait()).await;
        self.kill(child).await;
        if let Some(status) = ended {
            eprintln!("{} {} | ended ({})", self.function, self.pid, in_words(status));
        }
    }

    async fn kill(&self, child: &mut Child) {
        // An error means that the process has ended already.
        let _ = child.start_kill();
        let _ = child.wait().await;
        self.mailbox.close();
        self.ending.cancel();
        let output = std::mem::take(&mut *self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for mut forwarding in output {
            if timeout(OUTPUT_GRACE, &mut forwarding).await.is_err() {
                forwarding.abort();
            }
        }
    }
}

impl Function {
    /// Returns the function's name.
    pub(super) fn name(&self) -> &'static str {
        &self.deployed.name
    }

    async fn spawn(&self, id: u64, runtime_api: &str, deployment: &Deployed, spawner: &Spawner) -> io::Result<Child> {
        let environment = self.environment(id, runtime_api, deployment);
        match &self.package {
            Some(path) => spawner.spawn_leashed(path, &[], &environment).await,
            None => spawner.spawn_self("function", &[self.deployed.binary.into()], &environment).await,
        }
    }

    /// Returns the variables that Lambda sets, and those of the deployment.
    fn environment(&self, id: u64, runtime_api: &str, deployment: &Deployed) -> Vec<(String, String)> {
        let lambda = [
            ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_owned()),
            ("AWS_LAMBDA_FUNCTION_NAME", self.name().to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory_mb.to_string()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", self.name())),
            ("AWS_LAMBDA_LOG_STREAM_NAME", format!("local/{id}")),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("_HANDLER", "bootstrap".to_owned()),
            ("LAMBDA_TASK_ROOT", "/var/task".to_owned()),
        ];
        let lambda = lambda.into_iter().map(|(name, value)| (name.to_owned(), value));
        let resource = self.deployed.resource.map(|resource| ("RESOURCE".to_owned(), resource.to_owned()));
        let action = self.deployed.action.map(|action| ("ACTION".to_owned(), action.to_owned()));
        lambda.chain(resource).chain(action).chain(deployment.variables.iter().cloned()).collect()
    }
}

fn in_words(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
