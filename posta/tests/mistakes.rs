//! What the program says to mistakes: each is told with its cause and its cure, in exactly these words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "mistakes/configuration.rs"]
mod configuration;

use common::posta;
use std::{fs, path::Path};

/// What is wrong: the configuration beside `data`, the command line, and what is typed.
struct Mistake {
    configuration: &'static str,
    command: &'static [&'static str],
    input: &'static str,
    /// All of standard error, and the exit status.
    says: &'static str,
    status: i32,
}

/// A configuration that is refused, whatever the command.
const fn written(configuration: &'static str, says: &'static str) -> Mistake {
    Mistake { configuration, command: &["account", "list"], input: "", says, status: 1 }
}

/// Makes each mistake, in a directory of its own, which the texts call `DIR`.
fn make(mistakes: &[Mistake], prepare: impl Fn(&Path)) {
    let mut wrong = Vec::new();
    for Mistake { configuration, command, input, says, status } in mistakes {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        prepare(directory.path());
        let configured =
            format!("data = \"{path}/data\"\n{}\n", configuration.replace("DIR", path));
        fs::write(directory.path().join("posta.toml"), configured).unwrap();
        let file = format!("{path}/posta.toml");
        let command: Vec<_> = command.iter().map(|word| word.replace("DIR", path)).collect();
        let mut words: Vec<_> = command.iter().map(String::as_str).collect();
        if !matches!(words[0], "send" | "bench" | "explain" | "--help") {
            words.extend(["--config", &file]);
        }
        let output = posta(&words, input);
        let said = String::from_utf8_lossy(&output.stderr).replace(path, "DIR");
        if (said.trim_end(), output.status.code()) != (says.trim_end(), Some(*status)) {
            let code = output.status.code();
            wrong.push(format!(
                "{configuration}\n{command:?}\nshould say:\n{says}\nsays ({code:?}):\n{said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} mistakes:\n\n{}", wrong.len(), wrong.join("\n----\n"));
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_cure() {
    make(configuration::MISTAKES, |_| {});
}
