//! The programs under test, and helpers for processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The pause between two checks of a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the path of `watershed-local`, which serves.
pub fn watershed_local() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| built("watershed-local"));
    &PROGRAM
}

/// Returns the path of `watershed`, the operators' command line.
pub fn watershed() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| built("watershed"));
    &PROGRAM
}

/// Returns the path of a function's binary, as Lambda starts it.
pub fn function(name: &str) -> PathBuf {
    built(name)
}

fn built(program: &str) -> PathBuf {
    static DIR: LazyLock<Result<PathBuf, String>> = LazyLock::new(build);
    DIR.as_ref().unwrap_or_else(|why| panic!("cannot build {program}: {why}")).join(program)
}

/// Builds all programs once, with the profile of this test, and returns their folder. Builds them together with the tests, as
/// `make test` does: a smaller build would use other features and compile the dependencies again.
fn build() -> Result<PathBuf, String> {
    // The path is <target>/<profile>/deps/<this test>.
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile_dir = this.ancestors().nth(2).ok_or("this test is not in a target directory")?;
    let target_dir = profile_dir.parent().ok_or("this test is not in a target directory")?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => return Err("the profile is not known".to_owned()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // `cargo test` sets variables for this package. They would make build scripts run again, and recompile their dependents.
    for (name, _) in std::env::vars_os() {
        let is_of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_this_package) {
            command.env_remove(name);
        }
    }
    let built = command
        .args(["build", "--quiet", "--workspace", "--bins", "--tests", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace())
        .output()
        .map_err(|error| error.to_string())?;
    match built.status.success() {
        true => Ok(profile_dir.to_owned()),
        false => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
    }
}

/// Returns a command for a program that ends with this process, even after a kill.
pub fn leashed(program: &Path) -> Command {
    let mut command = Command::new(watershed_local());
    command.args(["leash", "--parent", &std::process::id().to_string()]).arg(program).arg("--");
    command
}

/// A process that ends with this one, even after a kill.
#[derive(Debug)]
pub struct Leashed(Mutex<Child>);

impl Leashed {
    /// Starts a program. Returns its output streams if `output` pipes them.
    pub fn start(program: &Path, arguments: &[&str], output: impl Fn() -> Stdio) -> (Self, Outputs) {
        let mut command = leashed(program);
        command.args(arguments);
        // The test must not use the machine's settings, such as credentials or endpoints.
        command.env_clear();
        for name in ["HOME", "PATH", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.stdin(Stdio::null()).stdout(output()).stderr(output());
        let mut child = spawn(command).unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let outputs = (child.stdout.take(), child.stderr.take());
        (Self(Mutex::new(child)), outputs)
    }

    pub fn pid(&self) -> u32 {
        self.0.lock().unwrap().id()
    }

    /// Waits until the process ends, up to the timeout.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.0.lock().unwrap().try_wait().unwrap() {
                Some(status) => return Some(status),
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    /// Kills the process, if it has not ended yet.
    pub fn kill(&self) {
        let mut child = self.0.lock().unwrap();
        // The process may have ended already.
        let _ = child.kill();
        child.wait().unwrap();
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The output streams of a process, if they are piped.
pub type Outputs = (Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

/// Starts a process on a thread that never ends. The kernel ends a leashed process with the *thread* that started it, and a test's
/// thread ends with the test.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (requests, queue) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                reply.send(command.spawn()).unwrap();
            }
        });
        Mutex::new(requests)
    });
    let (reply, started) = mpsc::channel();
    SPAWNER.lock().unwrap().send((command, reply)).unwrap();
    started.recv().unwrap()
}

/// Returns the root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Finds a program on the `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Returns whether the process runs. A zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the command, in parentheses, may contain any character.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Returns the command line of a process; empty if it has ended.
pub fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// Returns all descendants of the process `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(children(parent));
        next += 1;
    }
    found.split_off(1)
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal. The process may have ended already.
pub fn send_signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
}

/// Waits until all of the processes have ended. Returns those that still run at the deadline.
pub fn survivors(pids: &[u32], patience: Duration) -> Vec<u32> {
    let deadline = Instant::now() + patience;
    loop {
        let alive: Vec<u32> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if alive.is_empty() || Instant::now() > deadline {
            return alive;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The files with this ending in a folder and in the folders below it.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}
