//! The program's messages about mistakes, in exactly these words: each names the cause and the cure.

mod commands;
mod configuration;
mod running;
mod starting;

use posta_tests::posta;
use std::{fs, path::Path};

/// A mistake: the configuration besides `data`, the command line, and the typed input.
struct Mistake {
    configuration: &'static str,
    command: &'static [&'static str],
    input: &'static str,
    /// All of standard error but the code at its end, and the exit status.
    says: &'static str,
    code: &'static str,
    status: i32,
}

/// Makes each mistake in a directory. In the texts, `DIR` represents the directory, and other names
/// represent values known only when the test runs, such as ports.
fn make(mistakes: &[Mistake], directory: &Path, names: &[(&str, String)]) {
    let path = directory.to_str().unwrap();
    let mut names: Vec<_> = names.iter().map(|(name, is)| (*name, is.as_str())).collect();
    names.push(("DIR", path));
    let fill =
        |text: &str| names.iter().fold(text.to_owned(), |text, (name, is)| text.replace(name, is));
    let mut wrong = Vec::new();
    for Mistake { configuration, command, input, says, code, status } in mistakes {
        let configured = format!("data = \"{path}/data\"\n{}\n", fill(configuration));
        fs::write(directory.join("mistake.toml"), configured).unwrap();
        let file = format!("{path}/mistake.toml");
        let command: Vec<_> = command.iter().map(|word| fill(word)).collect();
        let mut words: Vec<_> = command.iter().map(String::as_str).collect();
        let takes_place = !matches!(words[0], "send" | "bench" | "explain" | "acount");
        if takes_place && !words.contains(&"--config") {
            words.extend(["--config", &file]);
        }
        let output = posta(&words, input);
        let said = String::from_utf8_lossy(&output.stderr);
        let said = names.iter().fold(said.into_owned(), |text, (name, is)| text.replace(is, name));
        // Behind the words, or on a line of its own.
        let says = [" ", "\n"].map(|space| format!("{}{space}[{code}]", says.trim_end()));
        let ended = output.status.code();
        if !says.contains(&said.trim_end().to_owned()) || ended != Some(*status) {
            wrong.push(format!(
                "{configuration}\n{command:?}\nshould say ({status}):\n{}\nsays ({ended:?}):\n{said}",
                says[0]
            ));
        }
    }
    for code in mistakes.iter().map(|mistake| mistake.code) {
        let explained = posta(&["explain", code], "");
        assert!(explained.status.success(), "{code} is not explained");
    }
    assert!(wrong.is_empty(), "{} mistakes:\n\n{}", wrong.len(), wrong.join("\n----\n"));
}
