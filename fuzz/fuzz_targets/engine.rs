#![no_main]

#[path = "../engine/mod.rs"]
mod engine;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = engine::run(bytes);
});
