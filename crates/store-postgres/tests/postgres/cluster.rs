//! A PostgreSQL of the tests' own: Debian's programs, a directory in the place for temporary files, a Unix socket. It ends
//! with the process that made it, however that ends: a shell waits for the end of its input, then stops the server.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// The user that runs PostgreSQL where the tests run as root, which it refuses.
const USER: &str = "postgres";

/// Waits for the end of its input, then stops the server at once and removes its directory.
const KEEPER: &str = r#"
"$@" >"$DIR/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server 2>/dev/null
rm -rf "$DIR"
"#;

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    programs: PathBuf,
    keeper: Child,
    made: AtomicUsize,
}

/// Returns the server that all tests of this process share; none, with a loud word, where PostgreSQL is not installed.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&["fsync=off"])).as_ref()
}

impl Cluster {
    /// Starts a server of its own with these settings.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!(
                "SKIPPED: PostgreSQL 15 or newer is not installed (apt-get install postgresql)"
            );
            return None;
        };
        let directory = tempfile::Builder::new().prefix("posta-pg").tempdir().unwrap().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = user() {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let data = directory.join("data");
        let init = as_user(&programs.join("initdb"))
            .args(["-A", "trust", "-U", "posta", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let mut cluster = Self {
            keeper: keep(&directory, &programs, settings),
            directory,
            programs,
            made: 0.into(),
        };
        cluster.wait();
        Some(cluster)
    }

    /// Returns a URL of the server's database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Returns a URL of a database.
    pub fn url_of(&self, database: &str) -> String {
        let host = self.directory.to_str().unwrap().replace('/', "%2F");
        format!("postgresql://posta@{host}/{database}")
    }

    /// Makes a database that no other test has, and returns its name.
    pub fn new_database(&self) -> String {
        let name = self.new_schema();
        self.psql(&format!("CREATE DATABASE {name}"));
        name
    }

    /// Removes a database, whoever uses it. That the server has ended is no failure of the test.
    pub fn drop_database(&self, name: &str) {
        let sql = format!("DROP DATABASE {name} WITH (FORCE)");
        let dropped = self.command(&sql).output();
        if !std::thread::panicking() {
            assert!(dropped.unwrap().status.success(), "{name} cannot be dropped");
        }
    }

    /// Returns a name for a schema that no other test has.
    pub fn new_schema(&self) -> String {
        format!("posta_{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// The server's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs statements with `psql`, and returns what it prints.
    pub fn psql(&self, sql: &str) -> String {
        printed(&mut self.command(sql))
    }

    /// Runs a statement whose commit waits for no standby.
    pub fn psql_alone(&self, sql: &str) -> String {
        printed(self.command(sql).env("PGOPTIONS", "-c synchronous_commit=local"))
    }

    /// Returns one of PostgreSQL's programs that connects to the server.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("-h").arg(&self.directory);
        command
    }

    fn command(&self, sql: &str) -> Command {
        let mut psql = self.program("psql");
        psql.args(["-U", "posta", "-d", "postgres", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        psql
    }

    /// Sends a signal to all processes of the server.
    pub fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        let first = pid.lines().next().unwrap();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", first]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        for process in std::iter::once(first).chain(children.split_whitespace()) {
            // A child may have ended meanwhile.
            let _ = Command::new("kill").args(["-s", name, process]).status();
        }
    }

    /// Makes a copy of the server that is promoted, so that it is on a later timeline.
    pub fn promoted_copy(&self) -> Self {
        let directory = tempfile::Builder::new().prefix("posta-pg").tempdir().unwrap().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = user() {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let copied = as_user(&self.programs.join("pg_basebackup"))
            .args(["-U", "posta", "-c", "fast", "-R", "-h"])
            .arg(&self.directory)
            .arg("-D")
            .arg(directory.join("data"))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let programs = self.programs.clone();
        let keeper = keep(&directory, &programs, &["fsync=off"]);
        let mut copy = Self { keeper, directory, programs, made: 0.into() };
        copy.wait();
        copy.control(&["promote"]);
        copy
    }

    /// Runs a statement in a transaction that stays open until the result is dropped.
    pub fn hold(&self, sql: &str) -> Holder {
        let mut psql = Command::new(self.programs.join("psql"))
            .args(["-U", "posta", "-d", "postgres", "-Atq", "-h"])
            .arg(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; {sql}; SELECT 'held';").unwrap();
        let mut lines = BufReader::new(psql.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "held"));
        Holder(psql)
    }

    /// Kills the server as a crash would, and starts it again after a while.
    pub fn crash_for(&self, while_down: Duration) {
        self.crash();
        thread::sleep(while_down);
        self.start_again();
    }

    /// Kills the server as a crash would.
    pub fn crash(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    /// Starts the server again after a crash.
    pub fn start_again(&self) {
        let log = self.directory.join("log.again");
        let socket = format!("-k {} -h ''", self.directory.display());
        self.control(&["start", "-l", log.to_str().unwrap(), "-o", &socket]);
    }

    fn control(&self, arguments: &[&str]) {
        let status = as_user(&self.programs.join("pg_ctl"))
            .args(arguments)
            .args(["-w", "-s", "-D"])
            .arg(self.directory.join("data"))
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "pg_ctl {arguments:?}");
    }

    fn wait(&mut self) {
        let is_ready = || {
            let status = Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h"])
                .arg(&self.directory)
                .status();
            status.is_ok_and(|status| status.success())
        };
        for _ in 0..300 {
            if is_ready() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs::read_to_string(self.directory.join("log")).unwrap_or_default());
    }
}

/// Returns what a command prints, which must succeed.
fn printed(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// An open transaction.
#[derive(Debug)]
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A server that was started again is none of the keeper's children.
        if self.directory.join("log.again").exists() {
            self.control(&["stop", "-m", "immediate"]);
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn keep(directory: &Path, programs: &Path, settings: &[&str]) -> Child {
    let server = as_user(&programs.join("postgres"));
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(server.get_program()).args(server.get_args());
    keeper.arg("-D").arg(directory.join("data")).arg("-k").arg(directory).args(["-h", ""]);
    for setting in ["max_connections=300", "shared_buffers=64MB"].iter().chain(settings) {
        keeper.args(["-c", setting]);
    }
    keeper.env("DIR", directory).stdin(Stdio::piped()).spawn().unwrap()
}

/// Returns the directory of the newest programs, from version 15 on.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |name: fs::DirEntry| name.file_name().to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|name| version(name.ok()?)).filter(|it| *it >= 15).max()?;
    let programs = PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"));
    programs.join("postgres").exists().then_some(programs)
}

/// Returns the ids of the user that runs the server, if the tests run as root.
fn user() -> Option<(u32, u32)> {
    let id = |flag: &str| {
        let out = Command::new("id").args([flag]).arg(USER).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse().ok()
    };
    let me = Command::new("id").arg("-u").output().ok()?;
    (me.stdout.trim_ascii() == b"0").then(|| Some((id("-u")?, id("-g")?)))?
}

fn as_user(program: &Path) -> Command {
    match user() {
        None => Command::new(program),
        Some((uid, gid)) => {
            let mut command = Command::new("setpriv");
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".into(),
            ]);
            command.arg(program);
            command
        }
    }
}
