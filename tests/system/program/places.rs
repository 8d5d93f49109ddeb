//! The locations of the configuration and the data, and their owners.

use posta_tests::{PASSWORD, program, skipped, stdout};
use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// Runs a command in a directory.
fn posta(directory: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(program());
    command
        .current_dir(directory)
        .args(arguments)
        .env_remove("POSTA_CONFIG")
        .env("HOME", directory);
    change(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut child = command.spawn().unwrap();
    // A command that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(PASSWORD.as_bytes());
    child.wait_with_output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns a directory and everything in it.
fn all(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Writes a configuration that keeps its data in `name`.
fn configure(path: &Path, name: &str) {
    let data = path.parent().unwrap().join(name);
    fs::write(path, format!("hostname = \"x.test\"\ndata = \"{}\"\n", data.display())).unwrap();
}

#[test]
fn the_option_comes_before_the_environment_and_that_before_the_directory() {
    if Path::new("/etc/posta/posta.toml").exists() {
        return skipped("where the configuration is", "this machine has one in /etc/posta");
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let add = ["account", "add", "ana@x.test", "--password-stdin"];
    let (option, environment) = (here.join("option.toml"), here.join("environment.toml"));
    configure(&option, "by-option");
    configure(&environment, "by-environment");
    configure(&here.join("posta.toml"), "by-directory");
    stdout(&posta(here, &add, |_| {}));
    assert!(here.join("by-directory/store").exists());
    stdout(&posta(here, &add, |command| {
        command.env("POSTA_CONFIG", &environment);
    }));
    assert!(here.join("by-environment/store").exists() && !here.join("by-option").exists());
    let named = [&add[..], &["--config", option.to_str().unwrap()]].concat();
    stdout(&posta(here, &named, |command| {
        command.env("POSTA_CONFIG", &environment);
    }));
    assert!(here.join("by-option/store").exists());
    let missing = posta(here, &add, |command| {
        command.env("POSTA_CONFIG", here.join("missing.toml"));
    });
    let said = words(&missing);
    assert!(!missing.status.success() && said.contains("missing.toml"), "{said}");
}

#[test]
fn a_command_that_reads_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    for command in [
        &["account", "list"][..],
        &["account", "password", "ana@x.test", "--password-stdin"],
        &["alias", "list"],
        &["domain", "list"],
        &["queue", "list"],
        &["collect", "list"],
        &["lockout", "list"],
        &["trace", "ana@x.test"],
    ] {
        let ran = posta(here, command, |_| {});
        assert!(!ran.status.success(), "{command:?}");
        let said = words(&ran);
        for part in
            ["no store in the data directory", "posta-data", "`posta account add`", "--config"]
        {
            assert!(said.contains(part), "{command:?}: {said}");
        }
        assert_eq!(fs::read_dir(here).unwrap().count(), 0, "{command:?} made something");
    }
    stdout(&posta(here, &["domain", "add", "x.test"], |_| {}));
    assert!(stdout(&posta(here, &["domain", "list"], |_| {})).contains("x.test"));
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_data_directory() {
    if !is_root() {
        return skipped("what root makes", "the tests do not run as root");
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::set_permissions(here, fs::Permissions::from_mode(0o711)).unwrap();
    let as_nobody = |command: &mut Command| {
        command.uid(NOBODY).gid(NOBODY);
    };
    let can_run = Command::new(program()).arg("--version").uid(NOBODY).gid(NOBODY).output();
    if can_run.is_err() {
        return skipped("what root makes", "other users cannot run the program where it is built");
    }
    // One directory exists already, and one is still to be made, inside a directory of its owner's.
    for name in ["data", "home/data"] {
        let data = here.join(name);
        let owned = if name == "data" { data.clone() } else { here.join("home") };
        fs::create_dir(&owned).unwrap();
        fs::set_permissions(&owned, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&owned, Some(NOBODY), Some(NOBODY)).unwrap();
        let place = ["--data", data.to_str().unwrap()];
        let add =
            [&["account", "add", "ana@x.test", "--apop", "--password-stdin"][..], &place].concat();
        stdout(&posta(here, &add, |_| {}));
        stdout(&posta(here, &[&["domain", "add", "y.test"][..], &place].concat(), |_| {}));
        for path in all(&data) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY), "{}", path.display());
            assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        }
        let list = [&["account", "list"][..], &place].concat();
        for listed in [posta(here, &list, as_nobody), posta(here, &list, |_| {})] {
            assert!(stdout(&listed).contains("ana@x.test"));
        }
    }
}

/// A user to whom the data does not belong is told so, and what to do, in no library's words.
#[test]
fn who_may_not_use_the_data_is_told_who_may() {
    if !is_root() {
        return skipped("data of another user", "the tests do not run as root");
    }
    if Command::new(program()).arg("--version").uid(NOBODY).gid(NOBODY).output().is_err() {
        return skipped(
            "data of another user",
            "other users cannot run the program where it is built",
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let data = here.join("data");
    let shown = data.to_str().unwrap();
    let place = ["--data", shown];
    stdout(&posta(here, &[&["domain", "add", "x.test"][..], &place].concat(), |_| {}));
    let owner = format!(
        "posta: {shown} belongs to user 0, but this command runs as user {NOBODY}: run it as that user, or give \
         everything there to this user with `chown -R {NOBODY} {shown}` [data-directory]\n"
    );
    let socket = format!(
        "posta: the control socket {shown}/control.sock cannot be used; run this as root, or as the server's user: \
         Permission denied (os error 13) [permission-denied]\n"
    );
    for (mode, command, told) in [
        (0o700, &["account", "list"][..], &socket),
        (0o700, &["serve"], &owner),
        (0o755, &["account", "list"], &owner),
        (0o755, &["serve"], &owner),
    ] {
        fs::set_permissions(here, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        let refused = posta(here, &[command, &place].concat(), |command| {
            command.uid(NOBODY).gid(NOBODY);
        });
        assert!(
            !refused.status.success() && words(&refused).ends_with(told),
            "{}",
            words(&refused)
        );
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
