//! What the operator sees of a running server: `/metrics`, `posta status`, and more.

use posta_tests::{Place, pop3, program, send, skipped, smtp, stdout};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const METRICS: &str = include_str!("../../../docs/metrics.md");
const CLI: &str = include_str!("../../../docs/cli.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana/posta.json");

/// Returns the answer of the control socket to a GET, with its head.
fn get(place: &Place, path: &str) -> String {
    let socket = place.directory.path().join("data/control.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: posta\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the value of a line of the export.
fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in\n{metrics}")).parse().unwrap()
}

/// A place whose server has received, refused and queued mail, and handed some out.
fn busy_place() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "starttls"), ("pop3", "none")]);
    // With this smarthost, mail for others waits in the queue.
    place.configure("[relay]\nsmarthost = \"127.0.0.1:1\"\n");
    place.start();
    place.add_account("ana@x.test");
    stdout(&place.posta(&["alias", "add", "away@x.test", "ana@elsewhere.test"], ""));
    let mut wire = smtp(place.address("smtp"));
    for to in ["ana@x.test", "ana@x.test", "away@x.test"] {
        assert!(send(&mut wire, to, "Subject: s\r\n\r\nb\r\n").starts_with("250"));
    }
    assert!(wire.say("MAIL FROM:<s@y.test>").starts_with("250"));
    assert!(wire.say("RCPT TO:<nobody@x.test>").starts_with("550 5.1.1"));
    wire.say("QUIT");
    let mut wire = pop3(place.address("pop3"), "ana");
    wire.say("STAT");
    wire.say("QUIT");
    place.logged("deferred");
    place
}

#[test]
fn a_command_tells_whether_the_server_would_take_mail() {
    let mut place = Place::new(&[("smtp", "none")]);
    let ask = |place: &Place| {
        let ran = place.posta(&["status", "--ready"], "");
        let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8(said).unwrap());
        (ran.status.code(), said)
    };
    let (code, [said, why]) = ask(&place);
    assert!(code == Some(1) && said.is_empty() && why.contains("[no-server]"), "{code:?} {why}");
    place.start();
    assert_eq!(ask(&place), (Some(0), ["ready\n".to_owned(), String::new()]));
    assert_eq!(place.stop(), Some(0));
    assert_eq!(ask(&place).0, Some(1));
}

#[test]
fn the_metrics_are_those_of_the_document_and_the_dashboard() {
    let place = busy_place();
    let answer = get(&place, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let kind = "content-type: text/plain; version=0.0.4";
    assert!(answer.to_lowercase().contains(kind), "{answer}");
    for (line, expected) in [
        ("posta_messages_accepted_total{protocol=\"smtp\"}", 3.0),
        ("posta_deliveries_total{folder=\"inbox\"}", 2.0),
        ("posta_queued_total", 1.0),
        ("posta_refusals_total{reason=\"address\",permanent=\"true\"}", 1.0),
        ("posta_logins_total{result=\"ok\"}", 1.0),
        ("posta_sessions_total{protocol=\"pop3\"}", 1.0),
        ("posta_recipients_total{outcome=\"deferred\"}", 1.0),
        (
            "posta_destination_recipients_total{destination=\"elsewhere.test\",outcome=\"deferred\"}",
            1.0,
        ),
        ("posta_queue_items{state=\"waiting\",age=\"5m\"}", 1.0),
        ("posta_accept_seconds_count", 3.0),
        ("posta_attempt_seconds_count", 1.0),
    ] {
        assert_eq!(value(&answer, line), expected, "{line}");
    }
    assert!(value(&answer, "posta_store_sync_seconds_count") >= 3.0);
    assert!(value(&answer, "posta_disk_free_bytes") > 0.0);
    let exported: BTreeSet<_> =
        answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let documented: BTreeSet<_> = METRICS
        .lines()
        .filter_map(|line| line.strip_prefix("| `posta_")?.split('`').next())
        .map(|name| format!("posta_{name}"))
        .collect();
    let documented: BTreeSet<_> = documented.iter().map(String::as_str).collect();
    assert_eq!(exported, documented);
    assert!(!documented.is_empty());
    for name in names(DASHBOARD) {
        let is_exported = answer
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert!(is_exported, "docs/grafana/posta.json shows {name}");
    }
    let unshown: Vec<_> = documented
        .iter()
        .filter(|name| !names(DASHBOARD).any(|shown| shown.starts_with(**name)))
        .collect();
    assert!(unshown.is_empty(), "docs/grafana/posta.json does not show {unshown:?}");
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    text.match_indices("posta_").map(move |(start, _)| {
        let rest = &text[start..];
        rest.split_once(|other| !is_part(other)).map_or(rest, |(name, _)| name)
    })
}

/// Fails unless each member of an object is described in a section of docs/cli.md.
fn is_documented(object: &serde_json::Value, section: &str) {
    let (_, text) = CLI.split_once(&format!("### `posta {section} --json`\n")).unwrap();
    let text = text.split("\n### ").next().unwrap();
    for name in object.as_object().unwrap().keys() {
        assert!(text.contains(&format!("`{name}`")), "{section}: {name} is not documented");
    }
}

#[test]
fn the_status_tells_what_needs_attention() {
    let mut place = busy_place();
    let backup = place.directory.path().join("backup");
    stdout(&place.posta(&["backup", backup.to_str().unwrap()], ""));
    let told = stdout(&place.posta(&["status"], ""));
    // Where the disk of the machine that runs the tests is nearly full, the status warns, and rightly.
    let is_well =
        |told: &str| told.starts_with("All is well.\n") || told.starts_with("! the disk has ");
    assert!(is_well(&told), "{told}");
    for words in [
        "server        mail.x.test, Posta ",
        "listening     smtp        127.0.0.1:",
        "sessions      none\n",
        "queue         1 waiting, the oldest ",
        "certificate   years left (until 4096",
        "lock-outs     none\n",
        "s ago, in ",
    ] {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    assert!(told.trim_end().ends_with(backup.to_str().unwrap()), "{told}");
    assert!(told.lines().count() <= 24 && told.lines().all(|line| line.len() < 160), "{told}");
    let object: serde_json::Value =
        serde_json::from_str(&stdout(&place.posta(&["status", "--json"], ""))).unwrap();
    is_documented(&object, "status");
    assert_eq!(object["running"], true, "{object}");
    let warnings = object["warnings"].as_array().unwrap();
    assert!(
        warnings.iter().all(|it| it.as_str().unwrap().starts_with("the disk has ")),
        "{object}"
    );
    assert_eq!(place.stop(), Some(0));
    let told = stdout(&place.posta(&["status"], ""));
    for words in [
        "! no server runs here: `posta serve` starts it\n",
        "server        not running; Posta ",
        "queue         1 waiting, ",
    ] {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    let top = place.posta(&["top", "--once"], "");
    let words = String::from_utf8_lossy(&top.stderr).into_owned();
    assert!(!top.status.success() && words.contains("no server runs with the control"), "{words}");
}

#[test]
fn the_history_is_added_up_and_drawn() {
    let place = busy_place();
    let svg = place.directory.path().join("stats.svg");
    let told =
        stdout(&place.posta(&["stats", "--since", "24h", "--svg", svg.to_str().unwrap()], ""));
    for words in [
        "3 messages (",
        "2 copies delivered here, 0 sent elsewhere, 0 failed; 1 refusal\n",
        "Messages accepted, by the hour (UTC)\n",
        "\nTop senders (messages)\n  s@y.test ",
        "      1  550 5.1.1  There is no such mailbox.\n",
    ] {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    let drawn = fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("Messages by the hour"), "{drawn}");
    let object: serde_json::Value =
        serde_json::from_str(&stdout(&place.posta(&["stats", "--json"], ""))).unwrap();
    is_documented(&object, "stats");
    assert_eq!(object["periods"].as_array().unwrap().len(), 8);
    assert_eq!(object["destinations"][0]["name"], "x.test");
}

#[test]
fn one_frame_of_top_shows_the_server_at_work() {
    let place = busy_place();
    let told = stdout(&place.posta(&["top", "--once"], ""));
    for words in [
        "mail.x.test  Posta ",
        "accepted         0.0/s     0.0/s             3",
        "refused          0.0/s     0.0/s             1",
        "queue       waiting 1 (oldest ",
        "elsewhere.test ",
        "550 5.1.1  RCPT TO:<nobody@x.test> ",
    ] {
        assert!(told.contains(words), "{words}\n---\n{told}");
    }
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    let refused = place.posta(&["top"], "");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("`posta top` needs a terminal"), "{words}");
}

/// On a terminal, which `script` makes, frames are drawn until `q` is pressed, and the terminal is given back.
#[test]
fn top_draws_on_a_terminal_until_q() {
    let place = busy_place();
    let command = format!("{} top --config {}", program().display(), place.config().display());
    let started = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = started else {
        return skipped("top-on-a-terminal", "there is no `script` (util-linux)");
    };
    let mut output = script.stdout.take().unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 4_096]);
    while shown.matches("\u{1b}[H").count() < 2 {
        let read = output.read(&mut piece).unwrap();
        assert!(read > 0, "it ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    script.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    shown.push_str(&String::from_utf8_lossy(&rest));
    assert!(script.wait().unwrap().success(), "{shown}");
    assert!(shown.starts_with("\u{1b}[?1049h"), "{shown:?}");
    assert!(shown.contains("mail.x.test  Posta ") && shown.contains("elsewhere.test"), "{shown:?}");
    assert!(shown.trim_end().ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{shown:?}");
}

/// A command that follows the history, and its lines.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(["trace", "--follow"])
            .args(arguments)
            .arg("--config")
            .arg(place.config())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, lines }
    }

    /// Sends messages until the command, which follows from some moment on, prints a line.
    fn first(&self, place: &Place, to: &str) -> String {
        for _ in 0..100 {
            send(&mut smtp(place.address("smtp")), to, "Subject: s\r\n\r\nb\r\n");
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                return line;
            }
        }
        panic!("nothing was followed");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_history_is_followed_as_it_happens() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.start();
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    let everything = Following::start(&place, &[]);
    let mut of_bob = Following::start(&place, &["bob@x.test", "--json"]);
    let first = everything.first(&place, "ana@x.test");
    assert_eq!(first.len(), 20, "a message's id: {first}");
    let line = everything.lines.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(line.contains("  accepted "), "{line}");
    let line = of_bob.first(&place, "bob@x.test");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["what"], &event["to"][0]), (&"accepted".into(), &"bob@x.test".into()));
    // The server does not wait for those who follow, and they end with it.
    assert_eq!(place.stop(), Some(0));
    assert!(of_bob.child.wait().unwrap().success());
    let mut without = Following::start(&place, &["bob@x.test"]);
    assert_eq!(without.child.wait().unwrap().code(), Some(1));
}
