//! The example in each command's help, run as it stands by a shell.
//!
//! A server runs that has what the examples speak of: the accounts ana@example.test and bob@example.test, twenty
//! messages, some folders. What an example needs beyond that, such as a server elsewhere, is not there; for such
//! examples, the table names the error that must come.

use posta_tests::{Place, posta, program, stdout};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// What makes the server have what the examples speak of. What is there already stays.
const PREPARED: &[&str] = &[
    "account undelete ana@example.test",
    "alias remove ana@example.test",
    "account rename ana.pop@example.test ana@example.test",
    "account enable ana@example.test",
    "account add ana@example.test --password-stdin",
    "account add bob@example.test --password-stdin",
    "alias add info@example.test ana@example.test",
    "folder add ana@example.test Work",
];

/// What makes single examples possible, by their beginnings.
const BEFORE: &[(&str, &str)] = &[
    ("posta account send-only", "account add printer@example.test --password-stdin"),
    ("posta account app-password remove", "account app-password add ana@example.test phone"),
    ("posta account app-password add", "account app-password remove ana@example.test phone"),
    ("posta forward off", "forward set ana@example.test bob@example.test"),
    ("posta token add", "token remove panel"),
    ("posta token remove", "token add panel"),
];

/// Examples that cannot succeed here, by their beginnings, and the code of the error that they end with.
const REFUSED: &[(&str, &str)] = &[
    ("posta serve --config /etc/posta/posta.toml", "config-not-found"),
    ("posta config check --config /etc/posta/posta.toml", "config-not-found"),
    // The server has the store open.
    ("posta store", "store-in-use"),
    // The server is the only one.
    ("posta cluster", "one-node"),
    // This would change the machine.
    ("posta setup", "terminal-needed"),
    ("posta account add ana@example.test", "account-exists"),
    ("posta account disallow", "no-such-permission"),
    ("posta certificate renew", "no-authority"),
    ("posta certificate new-account-key", "no-authority"),
    ("posta domain keys rotate", "keys-wait"),
    ("posta domain keys retire", "no-such-key"),
    ("posta domain remove", "domain-in-use"),
    ("posta import maildir --map", "no-mailbox"),
    ("posta import maildir", "file-not-found"),
    ("posta import mbox", "file-not-found"),
    ("posta import users", "file-not-found"),
    ("posta import aliases", "file-not-found"),
    ("posta import pop3", "visit-failed"),
    ("posta talk smtp mail.example.net:25", "cannot-connect"),
    ("posta fetch --server pop.example.net:995", "cannot-connect"),
    ("posta collect add ana@example.test --server pop.example.net:995", "login-elsewhere-failed"),
    ("posta collect run 1", "no-such-source"),
    ("posta collect remove 1", "no-such-source"),
    ("posta lockout lift 192.0.2.1", "no-such-lockout"),
    ("posta quarantine show", "mail-refused"),
    ("posta quarantine release", "nothing-in-quarantine"),
    ("posta quarantine drop", "nothing-in-quarantine"),
    ("posta queue show", "nothing-in-queue"),
    ("posta queue retry", "nothing-in-queue"),
    ("posta queue hold", "nothing-in-queue"),
    ("posta queue release", "nothing-in-queue"),
    ("posta queue remove", "nothing-in-queue"),
];

/// Returns the names of the subcommands and the example in the help of a command.
fn help(path: &[&str]) -> (Vec<String>, String) {
    let help = stdout(&posta(&[path, &["--help"]].concat(), ""));
    let lines = |heading: &str| {
        let list = help.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
        list.take_while(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>()
    };
    // A description may go on in the next line, further to the right.
    let named = lines("Commands:").into_iter().filter(|line| !line.starts_with("   "));
    let named = named.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    // The program's own help names them in groups: `  People  account, alias,`.
    let grouped = lines("Commands, of which").join(" ").replace(',', " ");
    let is_command = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
    let words = grouped.split_whitespace().filter(is_command).map(str::to_owned);
    let words =
        words.filter(|word| !["up", "and", "run", "act", "a", "client"].contains(&word.as_str()));
    let names = named.chain(words).filter(|name| name != "help").collect();
    let (_, example) =
        help.split_once("Example: ").unwrap_or_else(|| panic!("{path:?} has no example"));
    (names, example.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
}

/// Adds the examples of a command and of its subcommands, each once.
fn walk(path: &[&str], examples: &mut Vec<String>) {
    let (names, example) = help(path);
    if !examples.contains(&example) {
        examples.push(example);
    }
    for name in &names {
        walk(&[path, &[name.as_str()]].concat(), examples);
    }
}

struct Shell<'p> {
    place: &'p Place,
    home: &'p Path,
}

impl Shell<'_> {
    /// Returns an example with the addresses and paths that are here.
    fn line(&self, example: &str) -> String {
        let smtp = self.place.address("smtp");
        // Nothing is written outside of the test's own directory.
        let own = self.home.to_str().unwrap();
        let elsewhere = ["/var/vmail", "/mnt", "/home", "/srv", "/root", "/var/backups"];
        let line = elsewhere
            .iter()
            .fold(example.to_owned(), |line, path| line.replace(path, &format!("{own}{path}")));
        line.replace("127.0.0.1:2525", smtp)
            .replace("127.0.0.1:2110", self.place.address("pop3"))
            .replace("posta send ", &format!("posta send --server {smtp} --tls none "))
    }

    /// Runs a command line. With a terminal, `typed` is typed there.
    fn run(&self, line: &str, typed: &str, has_terminal: bool) -> Output {
        let posta = program().parent().unwrap();
        let line = &format!("PATH={}:$PATH; {line}", posta.display());
        let mut command = Command::new("timeout");
        command.arg("60");
        match has_terminal {
            true => command.args(["script", "-qec", line, "/dev/null"]),
            false => command.args(["sh", "-c", line]),
        };
        let mut child = command
            .env("POSTA_CONFIG", self.place.config())
            .env("HOME", self.home)
            .current_dir(self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input closes it; that is no error here.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout[..], &output.stderr[..]);
    String::from_utf8_lossy(&[out, error].concat()).into_owned()
}

#[test]
fn the_example_of_every_help_works() {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "starttls"), ("pop3", "none")]);
    let home = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(place.config()).unwrap();
    let spool = home.path().join("spool").display().to_string();
    fs::write(place.config(), format!("spool = \"{spool}\"\n{config}")).unwrap();
    place.start();
    let shell = Shell { place: &place, home: home.path() };
    let prepare = || {
        for line in PREPARED {
            shell.run(&format!("posta {line}"), "seven blue lamps\n", false);
        }
    };
    prepare();
    let smtp = place.address("smtp");
    let message = format!(
        "posta send --server {smtp} --tls none --from bob@example.test --to ana@example.test"
    );
    for number in 0..20 {
        let sent = shell.run(&format!("{message} --subject {number} --body x"), "", false);
        assert!(sent.status.success(), "{}", said(&sent));
    }
    let moved = shell.run("posta mail move ana@example.test Junk 1 2 3 4", "", false);
    assert!(moved.status.success(), "{}", said(&moved));
    let mut examples = Vec::new();
    walk(&[], &mut examples);
    // UIDs change when an account is brought back, and many messages take long to be read.
    let is_late = |example: &String| {
        !example.starts_with("posta mail ") && !example.starts_with("posta bench pop3")
    };
    examples.sort_by_key(is_late);
    fs::write(home.path().join("note.txt"), "I am away.\n").unwrap();
    assert!(examples.len() > 60, "{} examples", examples.len());
    let mut wrong = Vec::new();
    for example in examples {
        prepare();
        for (_, before) in BEFORE.iter().filter(|(beginning, _)| example.starts_with(beginning)) {
            shell.run(&format!("posta {before}"), "seven blue lamps\n", false);
        }
        let line = shell.line(&example);
        let mut output = shell.run(&line, "", false);
        if said(&output).contains("[password-needed]") {
            let typed = match example.starts_with("posta passwd") {
                true => "seven blue lamps\nfive red lamps\nfive red lamps\n",
                false => "seven blue lamps\nseven blue lamps\n",
            };
            output = shell.run(&line, typed, true);
        } else if said(&output).contains("[confirmation-needed]") {
            output = shell.run(&line, "yes\n", true);
        }
        let refused = REFUSED.iter().find(|(beginning, _)| example.starts_with(beginning));
        let is_right = match refused {
            Some((_, code)) => {
                !output.status.success() && said(&output).contains(&format!("[{code}]"))
            }
            // Its status tells what it found in the world.
            None if example.starts_with("posta check") => {
                output.status.code().is_some_and(|code| code <= 3)
            }
            None => output.status.success(),
        };
        if !is_right {
            wrong.push(format!("{example}\n({:?}) {}", output.status.code(), said(&output)));
        }
    }
    assert!(wrong.is_empty(), "{} examples:\n\n{}", wrong.len(), wrong.join("\n----\n"));
}
