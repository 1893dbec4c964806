#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::events::event_parts(input));
