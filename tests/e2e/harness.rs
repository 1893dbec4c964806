//! The harness: starts the real service in separate processes, and sends requests to it.

pub mod aws;
pub mod client;
pub mod clients;
pub mod gaps;
pub mod judge;
pub mod poll;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod scripted;
pub mod seed;
pub mod stack;
pub mod stores;
pub mod tokens;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};

pub use client::{Answer, Api, Item, Written};
pub use poll::eventually;
pub use stack::{Service, Stack, Variant};

/// Returns the stack of a variant that all checks share. It ends with this process.
pub fn shared(variant: Variant) -> &'static Stack {
    static STACKS: [OnceLock<Result<Stack, String>>; 8] = [const { OnceLock::new() }; 8];
    let stack = STACKS[variant as usize].get_or_init(|| Stack::try_start(variant, &["--ephemeral"]));
    stack.as_ref().unwrap_or_else(|why| panic!("the {variant:?} stack does not start: {why}"))
}

/// Runs a test's future to its end.
pub fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
}

/// Runs a check against a stack. If the check fails, prints the last output of the stack.
pub fn check<T>(stack: &Stack, body: impl Future<Output = T>) -> T {
    struct ShowWhenPanicking<'a>(&'a Stack);
    impl Drop for ShowWhenPanicking<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("--- the stack's last output ---\n{}\n---", self.0.last_output());
            }
        }
    }
    let _show = ShowWhenPanicking(stack);
    run(body)
}

/// Returns a word that no other test uses, because all tests of a shared stack use one tenant.
pub fn unique(word: &str) -> String {
    static RUN: LazyLock<String> = LazyLock::new(|| format!("{:08x}", rand::random::<u32>()));
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("{word}-{}-{}", *RUN, LAST.fetch_add(1, Ordering::Relaxed))
}
