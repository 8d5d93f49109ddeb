//! The program that libFuzzer drives. The environment determines the target, so that one build serves
//! all: `FUZZ_TARGET=command`.
#![no_main]

use fuzz::Target;
use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = Target::ALL.into_iter().find(|target| target.name() == name);
        found.unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
    });
    target.run(octets);
});
