//! The program under test, and helpers that run programs.

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

/// Returns the path of the program, which ends in `posta`, because usage messages begin with that name.
///
/// Cargo allows no two programs of one name in a workspace, so the tests' own build of `posta` has
/// another name and is run through a link. The build is never older than the sources, since Cargo makes
/// it before it runs a test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // Tests are in target/PROFILE/deps, programs in target/PROFILE.
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

/// Returns a home directory for the tests only, in which `fetch` records its visits.
fn home() -> &'static Path {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    HOME.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// Runs a command with `input` as its standard input.
pub fn posta(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .env("HOME", home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it; that is no error here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Returns a command's standard output; the command must have succeeded.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns a Python command in namespaces of its own, where it may make root file systems for other
/// servers; all processes that it starts end with it. Returns none, with a message, if that requires
/// rights that this process lacks.
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

/// Records that a check could not be made on this machine. `cargo xtask test` counts these.
pub fn skipped(check: &str, why: &str) {
    eprintln!("SKIPPED {check}: {why}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/skipped");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(check), why).unwrap();
}

/// Returns the path of a script in `interop/python`.
pub fn script(name: &str) -> String {
    format!("{}/interop/python/{name}", env!("CARGO_MANIFEST_DIR"))
}
