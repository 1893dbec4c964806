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

/// How long the last output of an ended process may take to arrive.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// A function as it is deployed.
#[derive(Debug, Clone)]
pub struct Function {
    /// What it is, and which program it runs.
    pub deployed: &'static service::functions::Function,
    /// How long an invocation may take.
    pub timeout: Duration,
    /// Memory in MB: told to the function, not enforced.
    pub memory_mb: u32,
    /// The packaged program, where it is not the one built in.
    pub package: Option<PathBuf>,
}

/// What a function was last deployed with.
#[derive(Debug, Default)]
pub(super) struct Deployed {
    /// Counts deployments.
    pub(super) number: u64,
    /// All variables that the function has, besides those that Lambda sets.
    pub(super) variables: Vec<(String, String)>,
}

/// One environment whose process has been started.
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

    /// Has the process killed, as Lambda does with an environment that it no longer wants.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    /// Waits until the process asks for an invocation; an error tells in words why it does not.
    pub(super) async fn until_ready(&self, child: &mut Child, limit: Duration) -> Result<(), String> {
        let failure = tokio::select! {
            () = self.mailbox.ready() => return Ok(()),
            status = child.wait() => format!("ended before it was ready ({})", in_words(status)),
            () = tokio::time::sleep(limit) => format!("is not ready after {} s", limit.as_secs()),
            () = self.ending.cancelled() => "is no longer wanted".to_owned(),
        };
        // What it wrote has been shown when this returns.
        self.kill(child).await;
        let reported = self.mailbox.init_error();
        let reported = reported.map(|error| format!(", reporting {}", String::from_utf8_lossy(&error)));
        Err(format!("{} {failure}{}", self.pid, reported.unwrap_or_default()))
    }

    /// Waits until the process ends, by itself or because it is no longer wanted.
    pub(super) async fn until_end(&self, child: &mut Child) {
        let ended = self.ending.run_until_cancelled(child.wait()).await;
        self.kill(child).await;
        if let Some(status) = ended {
            eprintln!("{} {} | ended ({})", self.function, self.pid, in_words(status));
        }
    }

    async fn kill(&self, child: &mut Child) {
        // An error means that it has ended already.
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
    /// Its name.
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

    /// What Lambda tells a function, and what the deployment does.
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
