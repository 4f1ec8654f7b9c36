//! libFuzzer for every target: the environment variable `NETMON_FUZZ` names the one that is run.
//! What they do is in tests/src/fuzz.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use netmon_tests::fuzz::{self, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("NETMON_FUZZ").unwrap_or_default();
    let Some(target) = fuzz::target(&name) else {
        let names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("NETMON_FUZZ={name:?} is none of {names:?}");
    };
    target
});

fuzz_target!(|data: &[u8]| {
    TARGET(data);
});
