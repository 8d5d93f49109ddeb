//! The suites that run a server or a store run twice: on the embedded store with all other tests, and here once more on
//! PostgreSQL. A suite is the same program both times, with the same expectations; it reads `POSTA_TESTS_STORE`
//! (`tests/src/database.rs`), and starts a PostgreSQL of its own.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The suites, all of the package `posta-tests`. `in_memory` and `program` read the variable, too, but some of their tests do
/// not hold on PostgreSQL yet.
const SUITES: [&str; 2] = ["transcripts", "crash"];

/// A test that does not run on PostgreSQL, or all whose names begin so, and why.
struct NotThere(&'static str, &'static str, &'static str);

const NOT_THERE: &[NotThere] = &[
    NotThere(
        "crash",
        "acceptance::a_full_disk_refuses_mail_and_loses_none",
        "it fills the disk of the embedded store; a full database is one of the faults of `cargo xtask cluster`",
    ),
    NotThere(
        "crash",
        "acceptance::the_250_waits_for_the_sync",
        "it makes the syncs of the server itself slow or fail; PostgreSQL syncs in processes of its own",
    ),
];

/// Runs the suites on PostgreSQL. Returns what was not run, for the end of all tests.
pub(crate) fn test(root: &Path) -> Result<String, String> {
    if !is_installed() {
        let why = "PostgreSQL 15 or newer is not installed (apt-get install postgresql)";
        return Ok(format!("SKIPPED the suites on PostgreSQL: {why}"));
    }
    let programs = programs(root)?;
    let (mut failed, mut not_there, mut count) = (Vec::new(), Vec::new(), 0);
    for suite in SUITES {
        let program = programs.get(suite).ok_or(format!("cargo built no suite `{suite}`"))?;
        let names = names(program, root)?;
        let mut command = prepared(program, root);
        command.arg("--exact");
        count += names.len();
        for NotThere(_, beginning, why) in NOT_THERE.iter().filter(|it| it.0 == suite) {
            let these: Vec<_> = names.iter().filter(|it| it.starts_with(beginning)).collect();
            if these.is_empty() {
                return Err(format!(
                    "xtask/src/stores.rs names {suite} {beginning}, which is no test"
                ));
            }
            count -= these.len();
            not_there
                .push(format!("NOT ON POSTGRESQL {suite} {beginning} ({}): {why}", these.len()));
            command.args(these.iter().flat_map(|name| ["--skip", name.as_str()]));
        }
        let status = command.status().map_err(|error| format!("{suite} did not start: {error}"))?;
        if !status.success() {
            failed.push(suite);
        }
    }
    for line in &not_there {
        println!("{line}");
    }
    if !failed.is_empty() {
        return Err(format!("on PostgreSQL, these suites failed: {}", failed.join(", ")));
    }
    Ok(format!("{}\n{count} tests ran on PostgreSQL too.", not_there.join("\n")))
}

/// Returns whether the programs that the tests look for are there.
fn is_installed() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let is_new = |path: PathBuf| {
        let version = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        version.is_some_and(|version| version >= 15) && path.join("bin/postgres").exists()
    };
    versions.map(|entry| entry.path()).any(is_new)
}

/// Returns the program of each suite. `cargo test` with the name of a suite would choose other features of dependencies, and
/// build everything anew.
fn programs(root: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json"]).current_dir(root);
    let built = cargo.stderr(Stdio::inherit()).output();
    let built = built.map_err(|error| format!("cargo did not start: {error}"))?;
    if !built.status.success() {
        return Err("the tests cannot be built".to_owned());
    }
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let suite = |message: Value| {
        let name = message["target"]["name"].as_str()?.to_owned();
        let is_suite = message["target"]["kind"][0] == "test" && SUITES.contains(&name.as_str());
        Some((name, PathBuf::from(message["executable"].as_str()?))).filter(|_| is_suite)
    };
    Ok(messages.filter_map(suite).collect())
}

/// Returns the names of a suite's tests.
fn names(program: &Path, root: &Path) -> Result<Vec<String>, String> {
    let listed = prepared(program, root).args(["--list", "--format", "terse"]).output();
    let listed = listed.map_err(|error| format!("{}: {error}", program.display()))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Returns a command that runs a suite on PostgreSQL, where Cargo would run it.
fn prepared(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root.join("tests")).env("POSTA_TESTS_STORE", "postgres");
    command
}
