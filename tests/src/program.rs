//! The program under test, and how it and other programs are run.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// The program as Cargo builds it for this package, before any of its tests.
const BUILT: &str = "posta-under-test";

/// The path of the program, whose last part is `posta`: usage messages begin with that name.
///
/// Cargo allows no two programs of one name in a workspace, so the tests' own build of `posta` has another, and
/// is run through a link. The build is never older than the sources, since Cargo makes it before it runs a test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // A test stands in target/PROFILE/deps, a program in target/PROFILE.
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        assert!(folder.join(BUILT).is_file(), "{BUILT} is not in {}", folder.display());
        let link = folder.join("under-test").join("posta");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        match symlink(Path::new("..").join(BUILT), &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
            _ => link,
        }
    })
}

/// A home directory of the tests' own: what was fetched is noted there.
fn home() -> &'static Path {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    HOME.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// Runs a command with something on its standard input.
pub fn posta(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .env("HOME", home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it; that is not this helper's business.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Returns what a command wrote to its standard output; it must have succeeded.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Python in a place apart, where it may make roots for other servers; all that it starts ends with
/// it. None, and a word about it, where only root may do that.
pub fn python_apart(check: &str) -> Option<Command> {
    let apart = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.arg("--mount-proc");
        command
    };
    if !apart().arg("true").output().is_ok_and(|tried| tried.status.success()) {
        skipped(check, "other servers need roots of their own, which only root may make");
        return None;
    }
    let mut command = apart();
    command.arg("python3");
    Some(command)
}

/// Says that a check could not be made on this machine. `cargo xtask test` counts these.
pub fn skipped(check: &str, why: &str) {
    eprintln!("SKIPPED {check}: {why}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/skipped");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(check), why).unwrap();
}

/// The path of a script in `interop/python`.
pub fn script(name: &str) -> String {
    format!("{}/interop/python/{name}", env!("CARGO_MANIFEST_DIR"))
}
