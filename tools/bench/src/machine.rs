//! The machine that runs the measurements.

use std::process::Command;

/// The properties of a machine that affect the numbers. A property that cannot be read is `unknown`.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn describe() -> Self {
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok();
            let output = output.and_then(|output| String::from_utf8(output.stdout).ok());
            output.map_or_else(|| "unknown".to_owned(), |output| output.trim().to_owned())
        };
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: output("uname", &["-srm"]),
            rustc: output("rustc", &["--version"]),
        }
    }
}
