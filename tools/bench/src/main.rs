//! The evolution report: wiring only.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // This is not spawned as a task: child processes end with the thread that started them, and the main thread ends last.
    bench::run().await
}
