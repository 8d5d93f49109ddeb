//! A smarthost whose answers depend on the recipient.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

/// The number of sessions that the smarthost serves before it ends.
const SESSIONS: usize = 20;

/// Starts a smarthost that accepts mail for bob, defers mail for cid and refuses all other recipients.
/// Returns its address.
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
