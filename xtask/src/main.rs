//! Commands for developers: `cargo xtask test` for everything, `cargo xtask tidy` for the rules that a
//! program can check.

mod manual;
mod metrics;
mod package;
mod rfc;
mod stores;
mod tidy;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The description of the HTTP interface.
const OPENAPI: &str = "docs/openapi.json";

const USAGE: &str = "\
cargo xtask test    format, lints, tests, documentation, tidy: everything that a change must pass
cargo xtask postgres
                    only the suites that run on PostgreSQL too, on PostgreSQL
cargo xtask tidy    only the rules for the source code (see CONTRIBUTING.md)
cargo xtask docs    writes docs/configuration.md and docs/metrics.md from their definitions, and
                    docs/openapi.json from the types of the operator's requests
cargo xtask captures
                    runs what the documents show the output of, on a made-up server, and writes the captures
cargo xtask rfc     checks that docs/rfc.md lists every RFC cited, and that the tests it names exist
cargo xtask package makes the Debian package in target/package, with manual pages and completions
cargo xtask bench [ROUNDS]
                    measures Posta beside Postfix, Dovecot and smtp-sink, and writes docs/benchmarks.md
cargo xtask bench --against PROGRAM [ROUNDS]
                    measures Posta beside another build of it, in one run; fails if a figure is worse by more
                    than its spread
cargo xtask bench-cluster [ROUNDS]
                    measures the store on PostgreSQL beside the embedded one: one node, two nodes, a synchronous
                    standby; writes that part of docs/benchmarks.md
cargo xtask checks [ROUNDS]
                    measures what checking a signed message costs, and writes that part of docs/benchmarks.md
cargo xtask abuse [--seconds N] [--rounds N] [--only NAME] [--shared] [--no-disk]
                    measures well-behaved sessions during each attack: N rounds (5) of N seconds (3)
                    without the attack and as many during it; fails if a limit does not hold. Writes
                    the table of docs/security.md, unless restricted to attacks whose names contain
                    NAME (--only), run with attackers on the server's own cores (--shared), or without the
                    count of octets written to disk (--no-disk)
cargo xtask million [--messages N]
                    measures a mailbox of N messages (a million): logging in, removing and restoring all of
                    them, and the delay for other sessions; writes the table of docs/benchmarks.md
cargo xtask migrate [--messages N] [--users N]
                    moves the mailboxes of a Dovecot host in, killed three times and resumed, and out again;
                    writes the table of docs/moving.md
cargo xtask backup [--messages N]
                    measures a backup of N messages (100,000), another after 1,000 more, checking and
                    restoring; writes the table of docs/operations.md
cargo xtask cluster [--debug] [--messages N] [--kills N] [--only NAME,NAME] [--seed N]
                    sets up the cluster of docs/cluster.md, and breaks it in every way or in those of --only,
                    at least N times (30) by kill -9, until N messages (50,000) are acknowledged, in 45
                    minutes at most; fails if one is lost, or if the service does not come back by itself.
                    Writes the table of docs/cluster.md, unless restricted by --only; --debug: with a debug
                    build, whose figures are much the same
cargo xtask fuzz [SECONDS]
                    runs each fuzz target for SECONDS (60), and keeps new inputs in fuzz/corpus";

/// The programs that the tests need besides Rust: a command that succeeds if the program is installed,
/// and the Debian packages that contain it.
const NEEDED: [(&str, &str); 19] = [
    ("cc --version", "gcc"),
    ("make --version", "make"),
    ("python3 --version", "python3"),
    ("curl --version", "curl"),
    ("openssl version", "openssl"),
    ("dpkg-shlibdeps --version", "dpkg-dev"),
    ("swaks --version", "swaks"),
    // The libraries that swaks and Net::POP3 use for TLS.
    ("perl -MNet::SSLeay -e 1", "libnet-ssleay-perl"),
    ("perl -MIO::Socket::SSL -e 1", "libio-socket-ssl-perl"),
    ("msmtp --version", "msmtp"),
    ("s-nail --version", "s-nail"),
    ("mpop --version", "mpop"),
    ("fetchmail --version", "fetchmail"),
    ("getmail --version", "getmail6"),
    ("neomutt -v", "neomutt"),
    ("mutt -v", "mutt"),
    ("go version", "golang-go"),
    ("opendkim -V", "opendkim"),
    (
        "/usr/bin/python3 -c __import__('dkim'),__import__('nacl'),__import__('authres')",
        "python3-dkim python3-nacl python3-authres",
    ),
];

/// The programs without which tests are skipped, likewise.
const WANTED: [(&str, &str); 4] = [
    ("systemd-nspawn --version", "systemd-container"),
    ("podman --version", "podman crun"),
    ("/usr/lib/postgresql/15/bin/postgres --version", "postgresql-15"),
    // The tests install the object store from PyPI, below `target/`.
    ("python3 -m venv --help", "python3-venv"),
];

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        Some("test") => test(),
        Some("postgres") => stores::test(&root()).map(|not_there| println!("\n{not_there}")),
        Some("tidy") => tidy::run(&root()),
        Some("docs") => docs(),
        Some("captures") => captures(),
        Some("rfc") => rfc::run(&root()),
        Some("package") => package::debian(),
        Some("bench") if env::args().nth(2).as_deref() == Some("--against") => {
            bench_against(env::args().skip(3))
        }
        Some("bench") => bench(env::args().nth(2)),
        Some("bench-cluster") => bench_cluster(env::args().nth(2)),
        Some("checks") => checks(env::args().nth(2)),
        Some("abuse") => abuse(env::args().skip(2)),
        Some("million") => million(env::args().skip(2)),
        Some("migrate") => migrate(env::args().skip(2)),
        Some("backup") => backup(env::args().skip(2)),
        Some("cluster") => cluster(env::args().skip(2)),
        Some("fuzz") => fuzz(env::args().nth(2)),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the documents that are generated.
fn docs() -> Result<(), String> {
    manual::write(&root())?;
    metrics::write(&root())?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "posta", "--", "openapi"]).current_dir(root());
    let printed = command.output().map_err(|error| format!("cargo did not start: {error}"))?;
    if !printed.status.success() {
        return Err(format!(
            "`posta openapi` failed:\n{}",
            String::from_utf8_lossy(&printed.stderr)
        ));
    }
    let path = root().join(OPENAPI);
    fs::write(path, printed.stdout).map_err(|error| format!("{OPENAPI} cannot be written: {error}"))
}

fn test() -> Result<(), String> {
    for (check, package) in NEEDED {
        need(check, package)?;
    }
    for (check, package) in WANTED {
        if let Err(problem) = need(check, package) {
            println!("{problem}; without it, tests are skipped");
        }
    }
    package::cargo_deb()?;
    let skipped = root().join("target/skipped");
    // The directory does not exist if nothing was skipped last time.
    let _ = fs::remove_dir_all(&skipped);
    cargo("format", &["fmt", "--all", "--check"])?;
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    cargo("tests", &["test", "--workspace", "--no-fail-fast"])?;
    step("suites on PostgreSQL");
    let not_there = stores::test(&root())?;
    cargo(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"],
    )?;
    step("tidy");
    tidy::run(&root())?;
    rfc::run(&root())?;
    println!("\n{}\n{not_there}", verdict(&skipped));
    Ok(())
}

/// Returns the result: success, and the checks that this machine did not allow.
fn verdict(skipped: &Path) -> String {
    let mut text = String::from("All passed.");
    for entry in fs::read_dir(skipped).into_iter().flatten().flatten() {
        let why = fs::read_to_string(entry.path()).unwrap_or_default();
        text.push_str(&format!("\nSKIPPED {}: {why}", entry.file_name().display()));
    }
    text
}

/// Measures Posta and the other servers in turn. The other servers are installed into root file systems
/// of their own, which requires root.
fn bench(rounds: Option<String>) -> Result<(), String> {
    let mut command = measuring("bench.py", Some("docs/benchmarks.md"))?;
    run(command.args(rounds), "the benchmark")
}

/// Measures Posta beside another build of itself.
fn bench_against(mut options: impl Iterator<Item = String>) -> Result<(), String> {
    let other =
        options.next().ok_or("name the other program: cargo xtask bench --against PROGRAM")?;
    let mut command = measuring("bench_versions.py", None)?;
    run(command.arg(other).args(options), "the comparison")
}

/// Measures the store on PostgreSQL beside the embedded one.
fn bench_cluster(rounds: Option<String>) -> Result<(), String> {
    let mut command = measuring("bench_cluster.py", Some("docs/benchmarks.md"))?;
    run(command.args(rounds), "the measurement of a cluster")
}

/// Measures a server that checks mail, and one that does not.
fn checks(rounds: Option<String>) -> Result<(), String> {
    need("openssl version", "openssl")?;
    let mut command = measuring("bench_checks.py", Some("docs/benchmarks.md"))?;
    run(command.args(rounds), "the measurement of checks")
}

/// Measures well-behaved sessions during each attack.
fn abuse(options: impl Iterator<Item = String>) -> Result<(), String> {
    let mut command = measuring("abuse.py", Some("docs/security.md"))?;
    run(command.args(options), "the measurement during attacks")
}

/// Measures a mailbox of a million messages.
fn million(options: impl Iterator<Item = String>) -> Result<(), String> {
    let mut command = measuring("million.py", Some("docs/benchmarks.md"))?;
    run(command.args(options), "the measurement of a large mailbox")
}

/// Measures backups and restores.
fn backup(options: impl Iterator<Item = String>) -> Result<(), String> {
    let mut command = measuring("backup.py", Some("docs/operations.md"))?;
    run(command.args(options), "the measurement of backups")
}

/// Breaks a cluster again and again while mail comes and goes.
fn cluster(options: impl Iterator<Item = String>) -> Result<(), String> {
    let (debug, mut options): (Vec<_>, Vec<_>) = options.partition(|option| option == "--debug");
    if !options.iter().any(|option| option == "--only") {
        options.extend(["--write", "docs/cluster.md"].map(str::to_owned));
    }
    let mut command = if debug.is_empty() {
        measuring("cluster.py", None)?
    } else {
        cargo("build", &["build", "-p", "posta"])?;
        let mut command = apart("cluster.py");
        command.arg("target/debug/posta");
        command
    };
    run(command.arg("long").args(options), "the cluster")
}

/// Builds the program. Returns the command that measures it with a script and writes a table into a
/// document.
fn measuring(script: &str, document: Option<&str>) -> Result<Command, String> {
    need("python3 --version", "python3")?;
    cargo("release build", &["build", "--release", "-p", "posta"])?;
    step("measuring");
    let mut command = apart(script);
    command.arg("target/release/posta").args(document);
    Ok(command)
}

/// Returns the command for a script whose processes all end with it.
fn apart(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "python3", &format!("tests/interop/python/{script}")]);
    command
}

/// Writes the captures in the documents.
fn captures() -> Result<(), String> {
    need("python3 --version", "python3")?;
    cargo("build", &["build", "-p", "posta"])?;
    run(apart("captures.py").args(["target/debug/posta", "--write"]), "the captures")
}

/// Measures how the mailboxes of another server move in and out.
fn migrate(options: impl Iterator<Item = String>) -> Result<(), String> {
    let mut command = measuring("migrate.py", Some("docs/moving.md"))?;
    run(command.args(options), "the measurement of moving")
}

fn fuzz(seconds: Option<String>) -> Result<(), String> {
    need("g++ --version", "g++")?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "fuzz", "--bin", "fuzz", "--"]).args(seconds);
    run(&mut command, "fuzzing")
}

/// Returns the folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn step(name: &str) {
    println!("\n== {name}");
}

fn cargo(name: &str, arguments: &[&str]) -> Result<(), String> {
    step(name);
    run(Command::new(env!("CARGO")).args(arguments).env("RUSTDOCFLAGS", "-D warnings"), name)
}

fn run(command: &mut Command, name: &str) -> Result<(), String> {
    let status = command.current_dir(root()).status();
    match status.map_err(|error| format!("{name} did not start: {error}"))?.success() {
        true => Ok(()),
        false => Err(format!("{name} failed")),
    }
}

/// Makes sure that a program is installed: installs it if allowed, otherwise returns an error that names
/// it.
fn need(check: &str, package: &str) -> Result<(), String> {
    let is_there = || {
        let mut words = check.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).output().is_ok_and(|ran| ran.status.success())
    };
    if is_there() {
        return Ok(());
    }
    step(&format!("installing {package}, for `{check}`"));
    let apt = |arguments: &str| {
        let mut command = Command::new("apt-get");
        command.args(arguments.split(' ')).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, "apt-get")
    };
    let installed = apt("update -qq").and_then(|()| apt(&format!("install -y -qq {package}")));
    if installed.is_ok() && is_there() {
        return Ok(());
    }
    Err(format!("the tests need `{check}`: install it (on Debian: apt-get install {package})"))
}
