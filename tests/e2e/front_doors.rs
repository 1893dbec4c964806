//! Tests for the gateway in front of the functions, with raw requests.

use crate::harness::{Variant, check, raw, shared, unique};
use crate::sample;

#[test]
fn the_gateway_wants_one_valid_host() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async { raw::check_host(stack.port()) });
}

/// The head of a chunked request has no length.
#[test]
fn a_body_in_chunks_is_a_body() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async {
        let word = unique("chunks");
        let body = sample::main().body(&word).to_string();
        let (first, second) = body.split_at(7);
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
            Connection: close\r\n\r\n7\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            sample::main().path,
            second.len()
        );
        assert_eq!(raw::status(stack.port(), &request), 201);
    });
}
