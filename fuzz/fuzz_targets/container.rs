//! Compressed files: any bytes, and again between the magic and the check that belong to them; lists of missing bytes.
#![no_main]

#[path = "../../cli/src/aside.rs"]
mod aside;
#[path = "../../cli/src/container.rs"]
mod container;
#[path = "../../cli/src/container/fuzzing.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _file = fuzzing::container(bytes);
    let (text, list) = aside::take(bytes, |byte| byte % 5 != 0);
    assert_eq!(
        aside::put_back(&text, &list, |byte| byte % 5 != 0).as_deref(),
        Some(bytes)
    );
    let _any = aside::put_back(&text, bytes, |_| false);
});
