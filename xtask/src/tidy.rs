//! The rules for the source code that a program can check. CONTRIBUTING.md lists them, and
//! ARCHITECTURE.md gives the reasons.

use crate::{manual, metrics};
mod floors;
mod house;
mod names;
mod rooms;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The maximal number of lines in a file of code.
const FILE_LINES: usize = 600;

/// The maximal number of lines in a function.
const FUNCTION_LINES: usize = 70;

/// The maximal number of lines in ARCHITECTURE.md.
const ARCHITECTURE_LINES: usize = 300;

/// The maximal number of columns in ARCHITECTURE.md.
const ARCHITECTURE_COLUMNS: usize = 110;

/// The workspace's crates, and the crates that each may depend on.
pub(crate) const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("posta-mail", &[]),
    ("posta-mime", &["posta-mail"]),
    ("posta-smtp", &["posta-mail"]),
    ("posta-pop3", &["posta-mail"]),
    ("posta-store", &["posta-mail"]),
    ("posta-store-fjall", &["posta-mail", "posta-store"]),
    ("posta-store-postgres", &["posta-mail", "posta-store"]),
    ("posta-backup", &["posta-mail", "posta-store"]),
    ("posta-net", &["posta-mail"]),
    ("posta-origin", &["posta-mail", "posta-mime"]),
    ("posta-filters", &["posta-mail"]),
    (
        "posta-server",
        &[
            "posta-filters",
            "posta-mail",
            "posta-mime",
            "posta-net",
            "posta-origin",
            "posta-smtp",
            "posta-pop3",
            "posta-store",
        ],
    ),
    (
        "posta",
        &[
            "posta-backup",
            "posta-mail",
            "posta-mime",
            "posta-smtp",
            "posta-pop3",
            "posta-store",
            "posta-store-fjall",
            "posta-store-postgres",
            "posta-net",
            "posta-origin",
            "posta-server",
        ],
    ),
    // The program itself, which the tests' package builds.
    ("tests", &["posta"]),
    (
        "fuzz",
        &[
            "posta",
            "posta-backup",
            "posta-filters",
            "posta-mail",
            "posta-mime",
            "posta-net",
            "posta-origin",
            "posta-pop3",
            "posta-server",
            "posta-smtp",
            "posta-store",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that are not part of the program.
const NO_PART: [&str; 3] = ["tests", "fuzz", "xtask"];

/// Crates that are pure: no input or output, no clock, no randomness, no runtime.
const PURE: [&str; 6] =
    ["posta-filters", "posta-mail", "posta-mime", "posta-origin", "posta-smtp", "posta-pop3"];
const IMPURE_WORDS: [&str; 9] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "tokio",
    "std::process",
];

/// State that outlives its owner.
const GLOBAL_STATE: [&str; 5] =
    ["static mut", "thread_local!", "LazyLock<", "OnceLock<", "static ref"];

/// The one place that says "committed". The engine that acts on it may name it, too.
const COMMITTED: &str = "Committed(";
const MAY_SAY_COMMITTED: [&str; 3] = [
    "crates/server/src/receive/session.rs",
    // The definition.
    "crates/smtp/src/server/question.rs",
    "crates/smtp/src/server.rs",
];

/// The code that may hold the network itself: listeners, and connections to hosts that the operator
/// names. Hosts named by strangers are reached through `Dialer` only, which keeps them out of the
/// internal network.
const NETWORK: &str = "dyn Net>";
const MAY_HOLD_NETWORK: [&str; 9] = [
    // The place where the network is made.
    "posta/src/wiring.rs",
    "crates/server/src/collect.rs",
    "crates/server/src/filter.rs",
    "crates/net/src/dial.rs",
    "crates/net/src/dial/by_name.rs",
    "crates/net/src/dial/happy_eyeballs.rs",
    "crates/net/src/system_net.rs",
    "crates/server/src/assembly.rs",
    "crates/server/src/login/oauth.rs",
];

/// The two commands that must work on a freshly installed machine.
const COMMANDS: [&str; 2] = ["cargo run --release -- demo --once", "cargo xtask test"];

/// Returns the folder of a crate. The crates of the program are in `crates/`, without the prefix.
pub(crate) fn folder(name: &str) -> String {
    name.strip_prefix("posta-").map_or_else(|| name.to_owned(), |name| format!("crates/{name}"))
}

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut problems = Vec::new();
    let mut files = 0;
    for (name, known) in MAY_KNOW {
        check_manifest(root, name, known, &mut problems);
        for path in rust_files(&root.join(folder(name))) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_file(&relative, name, &text, &mut problems);
            files += 1;
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    check_profile(&manifest, &mut problems);
    problems.extend(house::check(root)?);
    check_documents(root, &mut problems);
    problems.extend(manual::check(root));
    problems.extend(metrics::check(root));
    if files == 0 {
        problems.push("no file was found to check".to_owned());
    }
    if problems.is_empty() {
        println!("{files} files are tidy");
        return Ok(());
    }
    Err(format!("{}\ntidy failed: {} problems", problems.join("\n"), problems.len()))
}

fn check_manifest(root: &Path, name: &str, known: &[&str], problems: &mut Vec<String>) {
    let path = root.join(folder(name)).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let dependencies = text.split("\n[").find(|section| section.starts_with("dependencies]"));
    for line in dependencies.unwrap_or_default().lines().skip(1) {
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let ours = dependency.starts_with("posta");
        if ours && !known.contains(&dependency) {
            problems.push(format!("{name} may not know {dependency}"));
        }
        if PURE.contains(&name) && dependency == "tokio" {
            problems.push(format!("{name}: an engine must not depend on a runtime"));
        }
    }
}

/// Checks that a released program has no symbols, which would be three quarters of it.
fn check_profile(manifest: &str, problems: &mut Vec<String>) {
    let release = manifest.split("\n[").find(|section| section.starts_with("profile.release]"));
    if !release.is_some_and(|section| section.lines().any(|line| line == "strip = \"symbols\"")) {
        problems.push("Cargo.toml: [profile.release] needs strip = \"symbols\"".to_owned());
    }
}

fn check_file(relative: &str, name: &str, text: &str, problems: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES {
        problems.push(format!("{relative}: {lines} lines; a file may have {FILE_LINES}"));
    }
    for (line, length) in long_functions(text) {
        problems.push(format!(
            "{relative}:{line}: {length} lines; a function may have {FUNCTION_LINES}"
        ));
    }
    let in_source = relative.starts_with(&format!("{}/src/", folder(name)));
    if !in_source || NO_PART.contains(&name) {
        return;
    }
    let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let mut forbid = |word: &str, why: &str| {
        for (number, _) in production
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(word) && !line.trim_start().starts_with("//"))
        {
            problems.push(format!("{relative}:{}: `{word}`: {why}", number + 1));
        }
    };
    forbid("cfg(test)", "production code has no branch for tests");
    forbid("cfg!(test)", "production code has no branch for tests");
    if relative != "posta/src/output.rs" {
        for word in [" println!(", " print!(", "anstream::println!("] {
            forbid(word, "all output goes through posta/src/output.rs");
        }
    }
    for letter in 'a'..='z' {
        // This is the debug form of a field in a log event; Rust has no other use for a question mark
        // before a name.
        forbid(&format!(" ?{letter}"), "the log is for people: no debug form of a type");
        forbid(&format!("(?{letter}"), "the log is for people: no debug form of a type");
    }
    for word in GLOBAL_STATE {
        forbid(word, "there is no global mutable state");
    }
    if PURE.contains(&name) {
        for word in IMPURE_WORDS {
            forbid(word, "an engine does no input or output and reads no clock");
        }
    }
    if !MAY_SAY_COMMITTED.contains(&relative) {
        forbid(COMMITTED, "\"committed\" is said in one place only");
    }
    if !MAY_HOLD_NETWORK.contains(&relative) {
        forbid(NETWORK, "hosts named by strangers are reached through crates/net/src/dial.rs only");
    }
}

/// Returns the functions that are too long: the first line of each, and its number of lines. Relies on
/// rustfmt: a function ends at the first brace with the same indentation as its `fn`.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "const fn ",
            "pub const fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
        ]
        .iter()
        .any(|keyword| code.starts_with(keyword));
        if !is_function || code.ends_with(['}', ';']) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        // The line begins a trait method without a body, over several lines.
        let signature = format!("{indent})");
        let after = lines[start..].iter().find(|line| line.starts_with(&signature));
        if code.ends_with('(') && after.is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let end = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| **line == end).unwrap_or_default() + 1;
        if length > FUNCTION_LINES {
            long.push((start + 1, length));
        }
    }
    long
}

fn check_documents(root: &Path, problems: &mut Vec<String>) {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    check_architecture(&read("ARCHITECTURE.md"), problems);
    let readme = read("README.md");
    for command in COMMANDS {
        if !readme.contains(command) {
            problems.push(format!("README.md does not mention `{command}`"));
        }
    }
}

fn check_architecture(text: &str, problems: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines == 0 || lines > ARCHITECTURE_LINES {
        problems.push(format!("ARCHITECTURE.md has {lines} lines, not 1 to {ARCHITECTURE_LINES}"));
    }
    let wide: Vec<_> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.chars().count() > ARCHITECTURE_COLUMNS)
        .map(|(number, _)| number)
        .collect();
    if !wide.is_empty() {
        problems.push(format!(
            "ARCHITECTURE.md: lines {wide:?} have more than {ARCHITECTURE_COLUMNS} columns"
        ));
    }
}

pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, file: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check_file(&format!("{}/src/{file}", folder(name)), name, text, &mut problems);
        problems
    }

    #[test]
    fn each_rule_notices_its_breach() {
        let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES));
        for (name, text) in [
            ("posta-mail", "use std::fs;\n"),
            ("posta-smtp", "let now = Instant::now();\n"),
            ("posta-server", "static mut COUNT: u32 = 0;\n"),
            ("posta-server", "Ok(smtp::Committed(id))\n"),
            ("posta-server", "if cfg!(test) {}\n"),
            ("posta-server", "net: Arc<dyn Net>,\n"),
            ("posta-server", "tracing::warn!(?error, \"it failed\");\n"),
            ("posta-server", "tracing::warn!(cause = ?error, \"it failed\");\n"),
            ("posta-server", &long),
            ("posta-server", &"\n".repeat(FILE_LINES + 1)),
        ] {
            assert_eq!(problems(name, "x.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn symbols_in_a_released_program_are_noticed() {
        for (manifest, breaches) in [
            ("[a]\n[profile.release]\nlto = false\nstrip = \"symbols\"\n[b]\n", 0),
            ("[a]\n[profile.release]\nlto = false\n[b]\nstrip = \"symbols\"\n", 1),
            ("[a]\n", 1),
        ] {
            let mut problems = Vec::new();
            check_profile(manifest, &mut problems);
            assert_eq!(problems.len(), breaches, "{problems:?}");
        }
    }

    #[test]
    fn a_wide_or_long_architecture_is_noticed() {
        let wide = "ă".repeat(ARCHITECTURE_COLUMNS + 1) + "\n";
        for (text, breaches) in [
            ("ă".repeat(ARCHITECTURE_COLUMNS), 0),
            (wide, 1),
            ("a\n".repeat(ARCHITECTURE_LINES + 1), 1),
            (String::new(), 1),
        ] {
            let mut problems = Vec::new();
            check_architecture(&text, &mut problems);
            assert_eq!(problems.len(), breaches, "{problems:?}");
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        let short = format!("fn short() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES - 2));
        for (name, file, text) in [
            ("posta-server", "receive/session.rs", "Ok(smtp::Committed(id))\n"),
            ("posta-server", "x.rs", "use std::fs;\n"),
            ("posta-server", "login/oauth.rs", "net: Arc<dyn Net>,\n"),
            ("posta-mail", "x.rs", "// Instant is not for us\n"),
            ("posta-mail", "x.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
            ("posta-mail", "x.rs", &short),
            (
                "posta-mail",
                "x.rs",
                &format!(
                    "trait T {{\n    fn x(\n        a: u8,\n    );\n{}}}\n",
                    "    fn y();\n".repeat(FUNCTION_LINES)
                ),
            ),
        ] {
            assert_eq!(problems(name, file, text), Vec::<String>::new());
        }
    }
}
