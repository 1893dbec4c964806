//! What may break does, and nothing that was acknowledged is lost.

mod crashes;
mod endings;
mod redis;
mod unreachable;
