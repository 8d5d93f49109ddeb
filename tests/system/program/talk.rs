//! `posta talk`: a dialogue with a server, from a pipe, a script and a terminal.

use posta_tests::{Place, posta, stdout};
use std::fs;

fn place() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    place
}

/// Without a server, the dialogues of webmail.home are shown and explained.
#[test]
fn the_example_is_shown() {
    let shown = stdout(&posta(&["talk", "smtp"], ""));
    for line in ["MAIL FROM:<expeditor@webmail.home>", "acesta este corpul mesajului", "221 Bye"] {
        assert!(shown.contains(line), "{line}\n---\n{shown}");
    }
    assert!(shown.contains("a single dot ends the content"), "{shown}");
    let shown = stdout(&posta(&["talk", "pop3"], ""));
    assert!(
        shown.contains("+OK Sayonara") && shown.contains("message number and octets"),
        "{shown}"
    );
}

#[test]
fn lines_from_a_pipe_are_sent_one_by_one() {
    let place = place();
    let lines = "EHLO pc\nMAIL FROM:<>\nRCPT TO:<ana@x.test>\nDATA\nSubject: by hand\n\nhello\n.\nVRFY nobody\nQUIT\n";
    let shown = stdout(&posta(&["talk", "smtp", place.address("smtp")], lines));
    for words in [
        "the client says who it is, and asks what the server can do",
        "the largest message, in octets",
        "354 go on: everything up to a single dot is content",
        "250 done: the message is now the server's duty",
        "221 closing: both sides hang up",
    ] {
        assert!(shown.contains(words), "{words}\n---\n{shown}");
    }
    let lines = "USER ana\nPASS parola\nRETR 1\nQUIT\n";
    let shown = stdout(&posta(&["talk", "pop3", place.address("pop3")], lines));
    assert!(shown.contains("Subject: by hand") && shown.contains("PASS ••••"), "{shown}");
    assert!(!shown.contains("parola"), "{shown}");
}

/// The dialogues of webmail.home run against our own server: codes and order are as they were in 2004.
#[test]
fn a_script_is_replayed_and_compared() {
    let place = place();
    let script = place.config().with_file_name("script.txt");
    let run = |text: &str, more: &[&str]| {
        fs::write(&script, text).unwrap();
        let file = script.to_str().unwrap();
        let words = [&["talk", "smtp", place.address("smtp"), "--script", file], more].concat();
        let output = posta(&words, "");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let dialogue = "S: 220 webmail.home ESMTP\nC: HELO pc_client\nS: 250 webmail.home\n\
        C: MAIL FROM:<expeditor@y.test>\nS: 250 Ok\nC: RCPT TO:<ana@x.test>\nS: 250 Ok\n\
        C: DATA\nS: 354 End data\nC: acesta este corpul mesajului\nC: .\nS: 250 Ok: queued\nC: QUIT\nS: 221 Bye\n";
    let (code, words) = run(dialogue, &[]);
    assert!(words.contains("All 7 replies are as in the script."), "{words}");
    assert_eq!(code, Some(0));
    let (code, words) = run(&dialogue.replace("ana@x.test", "nobody@x.test"), &[]);
    assert!(words.contains("the script \"250 Ok\"") && words.contains("replies differ"), "{words}");
    assert_eq!(code, Some(1));
    let (code, words) = run(dialogue, &["--exact"]);
    assert!(words.contains("7 of 7 replies differ"), "{words}");
    assert_eq!(code, Some(1));
    let (code, words) = run("HELO pc\n", &[]);
    assert!(words.contains("line 1 begins with neither C:"), "{words}");
    assert_eq!(code, Some(1));
}

/// A server that is not there, says nothing that is SMTP, or never ends a line.
#[test]
fn what_goes_wrong_is_said() {
    let output = posta(&["talk", "smtp", "127.0.0.1:1"], "QUIT\n");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("127.0.0.1:1"), "{words}");
    assert_eq!(output.status.code(), Some(1));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let endless = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while std::io::Write::write_all(&mut stream, &[b'2'; 4096]).is_ok() {}
    });
    let output = posta(&["talk", "smtp", &address], "QUIT\n");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("the server sends a line without an end"), "{words}");
    endless.join().unwrap();
}

/// A person at a terminal: completion, a login, and the end. `python3` makes the terminal.
#[test]
fn a_person_talks_at_a_terminal() {
    let place = place();
    let script = r#"
import os, pty, sys, time, select
program, address = sys.argv[1:3]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm", COLUMNS="120")
    os.execv(program, [program, "talk", "pop3", address])
shown = b""
def until(words):
    global shown
    end = time.monotonic() + 60
    while words not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                octets = os.read(terminal, 65536)
            except OSError:
                break
            shown += octets
    if words not in shown:
        sys.exit("%r is missing: %s" % (words, shown.decode(errors="replace")))
    shown = shown[shown.index(words) + len(words):]
def say(text):
    os.write(terminal, text.encode())
until(b"USER destinatar")
until(b"+OK Sayonara")
until(b"+OK")
until("client ──▶ server".encode())
say("CA\t\r")
until(b"SASL ")
until("client ──▶ server".encode())
say("/login\r")
until(b"Name: ")
say("ana\r")
until(b"Password: ")
say("parola\r")
until(b"the maildrop is open")
until("client ──▶ server".encode())
say("/quit\r")
until(b"what was to be removed is removed")
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"#;
    let program = posta_tests::program().to_str().unwrap();
    let output = std::process::Command::new("python3")
        .args(["-c", script, program, place.address("pop3")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
