//! Dialogues in which a test sends and receives line by line.

use crate::PASSWORD;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A plaintext connection for a dialogue.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    /// Connects to `ADDRESS:PORT`.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// Waits this long for each line, in place of 20 s.
    pub fn patience(self, time: Duration) -> Self {
        self.reader.get_ref().set_read_timeout(Some(time)).unwrap();
        self
    }

    /// Sends text unchanged.
    pub fn write(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Reads the next line, without its CRLF; empty at the end of the connection.
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

    /// Reads to the end of the connection.
    pub fn rest(mut self) -> String {
        let mut rest = String::new();
        let _ = self.reader.read_to_string(&mut rest);
        rest
    }
}

/// Opens an SMTP session and says HELO.
pub fn smtp(address: &str) -> Wire {
    let mut wire = Wire::connect(address);
    assert!(wire.line().starts_with("220 "));
    assert!(wire.say("HELO c.test").starts_with("250 "));
    wire
}

/// Opens a POP3 session and logs in with [`PASSWORD`].
pub fn pop3(address: &str, name: &str) -> Wire {
    let mut wire = Wire::connect(address);
    assert!(wire.line().starts_with("+OK"));
    assert!(wire.say(&format!("USER {name}")).starts_with("+OK"));
    let opened = wire.say(&format!("PASS {PASSWORD}"));
    assert!(opened.starts_with("+OK"), "{opened}");
    wire
}

/// Sends a message, and returns the reply to the end of the data.
pub fn send(wire: &mut Wire, to: &str, content: &str) -> String {
    send_from(wire, "s@y.test", to, content)
}

/// Sends a message of this sender, and returns the reply to the end of the data.
pub fn send_from(wire: &mut Wire, from: &str, to: &str, content: &str) -> String {
    assert!(wire.say(&format!("MAIL FROM:<{from}>")).starts_with("250 "));
    assert!(wire.say(&format!("RCPT TO:<{to}>")).starts_with("250 "));
    assert!(wire.say("DATA").starts_with("354 "));
    wire.write(content);
    wire.say(".")
}
