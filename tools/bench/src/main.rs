//! The evolution report: wiring only.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // Not spawned: processes end with the thread that starts them, and the main thread is the last to end.
    bench::run().await
}
