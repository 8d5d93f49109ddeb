//! The real program, as a person would run it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

/// How long the server may take to start.
const START: Duration = Duration::from_secs(20);

pub const PASSWORD: &str = "parola";

/// A directory with a configuration, and the server that runs on it, if one does.
pub struct Place {
    pub directory: tempfile::TempDir,
    server: Option<Child>,
    /// Protocols and their addresses, in the order of the configuration.
    listening: Vec<(String, String)>,
    /// What the server wrote to standard error.
    log: Arc<Mutex<Vec<String>>>,
}

impl Place {
    /// With these listeners: protocol and TLS mode of each.
    pub fn new(listeners: &[(&str, &str)]) -> Self {
        Self::named("mail.x.test", listeners)
    }

    /// The same under another name for itself.
    pub fn named(hostname: &str, listeners: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("posta-test-").tempdir().unwrap();
        let mut config = format!(
            "hostname = \"{hostname}\"\ndata = \"{}\"\n[limits]\nsessions-per-client = 0\n",
            directory.path().join("data").display()
        );
        for (protocol, tls) in listeners {
            config.push_str(&format!(
                "[[listen]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n"
            ));
        }
        fs::write(directory.path().join("posta.toml"), config).unwrap();
        Self { directory, server: None, listening: Vec::new(), log: Arc::default() }
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("posta.toml")
    }

    /// Starts the server with more of an environment, and waits until it is ready.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        let mut server = Command::new(program())
            .args(["serve", "--config"])
            .arg(self.config())
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let (sender, ready) = std::sync::mpsc::channel();
        let log = self.log.clone();
        // Reads on to the end, so that the server never waits for its log to be read.
        thread::spawn(move || {
            for line in lines.by_ref().map_while(Result::ok) {
                log.lock().unwrap().push(line.clone());
                if line.starts_with("ready") {
                    let _ = sender.send(line);
                } else {
                    eprintln!("server: {line}");
                }
            }
        });
        let line = ready.recv_timeout(START);
        self.server = Some(server);
        let line = line.expect("the server says that it is ready");
        self.listening = line
            .split(' ')
            .skip(1)
            .map(|part| part.split_once('=').unwrap())
            .map(|(protocol, address)| (protocol.to_owned(), address.to_owned()))
            .collect();
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Where a protocol is served first.
    pub fn address(&self, protocol: &str) -> &str {
        &self.listening.iter().find(|(name, _)| name == protocol).unwrap().1
    }

    /// Everywhere that it is served.
    pub fn all(&self, protocol: &str) -> Vec<&str> {
        let served = self.listening.iter().filter(|(name, _)| name == protocol);
        served.map(|(_, address)| address.as_str()).collect()
    }

    /// Sends the server a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Appends to the configuration.
    pub fn configure(&self, more: &str) {
        let mut config = fs::OpenOptions::new().append(true).open(self.config()).unwrap();
        config.write_all(more.as_bytes()).unwrap();
    }

    /// What the server wrote to standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that has this in it.
    pub fn logged(&self, words: &str) -> String {
        for _ in 0..200 {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(words)) {
                return line;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{words:?} is not in the log:\n{}", self.log().join("\n"));
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// Octets of memory that the server has.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// kill -9: no chance to finish anything.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut server = self.server.take().unwrap();
        let terminated = Command::new("kill").arg(server.id().to_string()).status().unwrap();
        assert!(terminated.success());
        server.wait().unwrap().code()
    }

    /// Runs a command on this place.
    pub fn posta(&self, arguments: &[&str], input: &str) -> Output {
        let config = self.config();
        let config = ["--config", config.to_str().unwrap()];
        posta(&[arguments, &config].concat(), input)
    }

    pub fn add_account(&self, address: &str) {
        let added = self.posta(&["account", "add", address, "--password-stdin"], PASSWORD);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
    }
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

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_posta"))
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

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A connection for plain dialogues.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub fn write(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line, without its CRLF; empty at the end of the connection.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    /// Sends a line and reads one.
    pub fn say(&mut self, line: &str) -> String {
        self.write(&format!("{line}\r\n"));
        self.line()
    }

    /// Sends a line, and reads a positive POP3 response up to the dot.
    pub fn listing(&mut self, line: &str) -> Vec<String> {
        let status = self.say(line);
        assert!(status.starts_with("+OK"), "{status}");
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if line == "." {
                return lines;
            }
            lines.push(line);
        }
    }

    pub fn rest(mut self) -> String {
        let mut rest = String::new();
        let _ = self.reader.read_to_string(&mut rest);
        rest
    }
}

/// An SMTP session that has said hello.
pub fn smtp(address: &str) -> Wire {
    let mut wire = Wire::connect(address);
    assert!(wire.line().starts_with("220 "));
    assert!(wire.say("HELO c.test").starts_with("250 "));
    wire
}

/// A POP3 session that has logged in.
pub fn pop3(address: &str, name: &str) -> Wire {
    let mut wire = Wire::connect(address);
    assert!(wire.line().starts_with("+OK"));
    assert!(wire.say(&format!("USER {name}")).starts_with("+OK"));
    let opened = wire.say(&format!("PASS {PASSWORD}"));
    assert!(opened.starts_with("+OK"), "{opened}");
    wire
}

/// Sends a message; answers the reply to its end.
pub fn send(wire: &mut Wire, to: &str, content: &str) -> String {
    assert!(wire.say("MAIL FROM:<s@y.test>").starts_with("250 "));
    assert!(wire.say(&format!("RCPT TO:<{to}>")).starts_with("250 "));
    assert!(wire.say("DATA").starts_with("354 "));
    wire.write(content);
    wire.say(".")
}

/// Sessions that the smarthost of tests serves at most.
const SESSIONS: usize = 20;

/// A smarthost that knows bob, has no time for cid, and knows nobody else.
pub fn smarthost() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().take(SESSIONS) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"220 out.test\r\n").unwrap();
            let mut is_content = false;
            for line in lines.map_while(Result::ok) {
                let reply = match line.split(['@', ' ']).next().unwrap() {
                    "." => "250 2.0.0 taken",
                    _ if is_content => continue,
                    "DATA" => "354 go on",
                    "QUIT" => "221 bye",
                    "RCPT" if line.contains("bob@") => "250 2.1.5 bob is fine",
                    "RCPT" if line.contains("cid@") => "451 4.2.1 cid \"is\" away",
                    "RCPT" => "550 5.1.1 who is that",
                    _ => "250 fine",
                };
                is_content = reply.starts_with("354");
                if stream.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}
