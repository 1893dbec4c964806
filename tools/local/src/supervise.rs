//! Processes: their start, their output, and their end, even if this process is killed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// The maximum number of processes that wait for their start.
const QUEUED_MAX: usize = 64;
/// The number of lines of output that are kept, to show why a process ended.
const LAST_LINES_MAX: usize = 8;
/// The maximum length of a line of output, in bytes. Longer lines are cut.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Starts processes that end with this one, even if this one is killed.
///
/// The kernel ends a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`). So one thread starts all children,
/// and it lives as long as the process.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
    runner: Arc<Path>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread. `runner` is the path of this program. Call it within a runtime.
    pub fn start(runner: &Path) -> io::Result<Self> {
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUED_MAX);
        let runtime = Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _context = runtime.enter();
            while let Some(mut request) = queue.blocking_recv() {
                // If the caller is gone, the child is dropped, which kills it.
                let _ = request.reply.send(request.command.spawn());
            }
            // The last children may still be running, and this thread must outlive them.
            std::thread::park();
        })?;
        Ok(Self { requests, runner: runner.into() })
    }

    /// Starts this program in another role. The role must tie itself to the parent whose id it gets.
    ///
    /// The process gets only the variables in `environment`. It inherits none.
    pub async fn spawn_self(
        &self,
        role: &str,
        arguments: &[OsString],
        environment: &[(String, String)],
    ) -> io::Result<Child> {
        let head = [role.into(), "--parent".into(), std::process::id().to_string().into()];
        self.spawn(&[&head, arguments].concat(), environment).await
    }

    /// Starts any program in the same way.
    pub async fn spawn_leashed(
        &self,
        program: &Path,
        arguments: &[OsString],
        environment: &[(String, String)],
    ) -> io::Result<Child> {
        let head = [program.as_os_str().to_owned(), "--".into()];
        self.spawn_self("leash", &[&head, arguments].concat(), environment).await
    }

    async fn spawn(&self, arguments: &[OsString], environment: &[(String, String)]) -> io::Result<Child> {
        let mut command = Command::new(&*self.runner);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for this process only, which then stops the others in order.
            .process_group(0)
            .kill_on_drop(true);
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send(Request { command, reply }).await.map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// Makes the kernel kill this process when its parent ends.
///
/// Only Linux can do this. On other systems, functions end because their Runtime API is gone.
pub fn end_with_parent(parent: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // The parent may have ended before the line above.
    if nix::unistd::getppid().as_raw() == parent {
        Ok(())
    } else {
        Err(io::Error::other("the process that started this one has ended"))
    }
}

/// Replaces this process by `program`. Returns only if that fails, with the reason.
#[must_use]
pub fn leash(parent: i32, program: &Path, arguments: &[OsString]) -> io::Error {
    match end_with_parent(parent) {
        Ok(()) => std::process::Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// The last lines that a process wrote.
#[derive(Debug, Clone, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// Returns the lines, oldest first.
    #[must_use]
    pub fn joined(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Copies the output of a process to standard error, line by line with its name and id, until it ends.
///
/// The tasks end when the process, and all processes that inherited its output, have closed it.
pub fn forward_output(name: &str, child: &mut Child) -> Vec<tokio::task::JoinHandle<()>> {
    let prefix = format!("{name} {}", child.id().unwrap_or_default());
    read_output(child, move |line| eprintln!("{prefix} | {line}"))
}

/// Keeps the last lines of output of a process, and prints none.
pub fn keep_output(child: &mut Child, last: &LastLines) {
    let last = last.clone();
    read_output(child, move |line| last.push(line));
}

fn read_output(child: &mut Child, sink: impl Fn(&str) + Clone + Send + 'static) -> Vec<tokio::task::JoinHandle<()>> {
    let outputs: [Option<Box<dyn AsyncRead + Unpin + Send>>; 2] =
        [child.stdout.take().map(|it| Box::new(it) as _), child.stderr.take().map(|it| Box::new(it) as _)];
    outputs.into_iter().flatten().map(|output| tokio::spawn(read_lines(output, sink.clone()))).collect()
}

async fn read_lines(output: impl AsyncRead + Unpin, sink: impl Fn(&str)) {
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while read_line(&mut lines, &mut line).await.unwrap_or(false) {
        sink(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// Reads up to the end of a line, or up to the limit. Returns `false` at the end.
async fn read_line(lines: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    use tokio::io::AsyncReadExt;
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    Ok(lines.take(limit).read_until(b'\n', line).await? > 0)
}

/// Returns a future that completes at the first Ctrl-C or SIGTERM.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
