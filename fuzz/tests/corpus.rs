//! Replays what the fuzzer found worth keeping: nothing of it may break a promise again.

use fuzz::{Target, corpus};
use std::path::Path;

#[test]
fn the_corpus_holds() {
    for target in Target::ALL {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name());
        let inputs = corpus::read(&file).expect("every target has a corpus");
        assert!(inputs.len() >= 10, "{}: {} inputs are no corpus", target.name(), inputs.len());
        for input in inputs {
            target.run(&input);
        }
    }
}
