//! Tests for faults: no acknowledged command may be lost.

mod crashes;
mod endings;
mod redis;
mod unreachable;
