//! A directory with a configuration, and the server that runs on it.

use crate::{Database, posta, program};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// The time within which the server must be ready.
const START: Duration = Duration::from_secs(20);

/// The password of every account that a test adds.
pub const PASSWORD: &str = "parola";

/// A directory with a configuration, and the server that runs there, if one does.
pub struct Place {
    /// The directory of the configuration and the data, removed together with the place.
    pub directory: tempfile::TempDir,
    server: Option<Child>,
    /// Protocols and their addresses, in the order of the configuration.
    listening: Vec<(String, String)>,
    /// The lines that the server has written to standard error.
    log: Arc<Mutex<Vec<String>>>,
    /// The database of the server, if the tests run on PostgreSQL. It is removed once the server has ended.
    _database: Option<Database>,
}

impl Place {
    /// Makes a place with these listeners: the protocol and TLS mode of each.
    pub fn new(listeners: &[(&str, &str)]) -> Self {
        Self::named("mail.x.test", listeners)
    }

    /// Makes a place whose server has the host name `hostname`.
    pub fn named(hostname: &str, listeners: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("posta-test-").tempdir().unwrap();
        let database = Database::new();
        let mut config = format!(
            "hostname = \"{hostname}\"\ndata = \"{}\"\n{}[limits]\nsessions-per-client = 0\n",
            directory.path().join("data").display(),
            database.as_ref().map(Database::configuration).unwrap_or_default()
        );
        for (protocol, tls) in listeners {
            config.push_str(&format!(
                "[[listen]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n"
            ));
        }
        fs::write(directory.path().join("posta.toml"), config).unwrap();
        let (server, listening, log) = Default::default();
        Self { directory, server, listening, log, _database: database }
    }

    /// Returns the path of the configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("posta.toml")
    }

    /// Starts the server with additional environment variables, and waits until it is ready.
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
        // The log is read to its end, so that the server never has to wait for a reader.
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

    /// Starts the server, and waits until it is ready.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Returns the address of the first listener of a protocol.
    pub fn address(&self, protocol: &str) -> &str {
        &self.listening.iter().find(|(name, _)| name == protocol).unwrap().1
    }

    /// Returns the addresses of all listeners of a protocol.
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

    /// Returns the lines that the server has written to standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that contains `words`, and returns it.
    pub fn logged(&self, words: &str) -> String {
        for _ in 0..200 {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(words)) {
                return line;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{words:?} is not in the log:\n{}", self.log().join("\n"));
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// Returns the server's resident memory in octets.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Kills the server (SIGKILL), which leaves it no chance to finish anything.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Ends the server with SIGTERM, and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut server = self.server.take().unwrap();
        let terminated = Command::new("kill").arg(server.id().to_string()).status().unwrap();
        assert!(terminated.success());
        server.wait().unwrap().code()
    }

    /// Runs a command on this place, with `input` as its standard input.
    pub fn posta(&self, arguments: &[&str], input: &str) -> Output {
        let config = self.config();
        let config = ["--config", config.to_str().unwrap()];
        posta(&[arguments, &config].concat(), input)
    }

    /// Adds an account with [`PASSWORD`].
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
