//! `posta quarantine`, with a milter that wants all mail kept away from its recipients.

use posta_tests::{Place, pop3, send, smtp, stdout};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Serves a milter whose verdict is quarantine. Returns its address.
fn milter() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = converse(stream.unwrap());
        }
    });
    address
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut packet)?;
        let answer: &[u8] = match packet[0] {
            b'O' => b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x31\0\0\0\0",
            b'D' => continue,
            b'Q' => return Ok(()),
            b'E' => b"\0\0\0\x0bqlooks odd\0\0\0\0\x01c",
            _ => b"\0\0\0\x01c",
        };
        stream.write_all(answer)?;
    }
}

#[test]
fn quarantine_is_listed_shown_released_and_dropped() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.configure(&format!("[[filters]]\nkind = \"milter\"\naddress = \"{}\"\n", milter()));
    place.add_account("ana@x.test");
    place.start();
    let empty = stdout(&place.posta(&["quarantine", "list"], ""));
    assert_eq!(empty, "Nothing is in quarantine.\n");
    assert_eq!(stdout(&place.posta(&["quarantine", "list", "--json"], "")), "[]\n");
    let mut wire = smtp(place.address("smtp"));
    for subject in ["one", "two"] {
        send(
            &mut wire,
            "ana@x.test",
            &format!("From: s@y.test\r\nSubject: {subject}\r\n\r\nb\r\n"),
        );
    }
    assert!(pop3(place.address("pop3"), "ana").say("STAT").starts_with("+OK 0 "));
    let listed = stdout(&place.posta(&["quarantine", "list"], ""));
    for words in ["from <s@y.test> to ana@x.test", "into quarantine: looks odd", "s@y.test  two"] {
        assert!(listed.contains(words), "{words}\n---\n{listed}");
    }
    let ids: Vec<_> =
        listed.lines().filter(|line| !line.starts_with(' ')).map(|line| &line[..20]).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    let shown = stdout(&place.posta(&["quarantine", "show", ids[0]], ""));
    assert!(
        shown.starts_with("Received: ") && shown.ends_with("Subject: one\r\n\r\nb\r\n"),
        "{shown}"
    );
    // The queue's own commands leave it where it is.
    let _ = place.posta(&["queue", "release", ids[0]], "");
    let _ = place.posta(&["queue", "remove", ids[0]], "");
    let done = stdout(&place.posta(&["quarantine", "release", ids[0]], ""));
    assert_eq!(done, "1 message released\n");
    let arrives = (0..400).any(|_| {
        thread::sleep(Duration::from_millis(50));
        pop3(place.address("pop3"), "ana").say("STAT").starts_with("+OK 1 ")
    });
    assert!(arrives, "it is not delivered");
    let done = stdout(&place.posta(&["quarantine", "drop", ids[1]], ""));
    assert_eq!(done, "1 message dropped\n");
    let told = place.posta(&["quarantine", "drop", ids[1]], "");
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(words.contains("no such message is in quarantine; `posta quarantine list`"), "{words}");
    let story = stdout(&place.posta(&["trace", ids[0]], ""));
    for words in [
        "asked the filters",
        "quarantine: looks odd",
        "released from quarantine",
        "in the mailbox of ana@x.test",
    ] {
        assert!(story.contains(words), "{words}\n---\n{story}");
    }
}
