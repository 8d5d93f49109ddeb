//! A smarthost that takes a message up to the end of its data, and answers when the test lets it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

/// What happened on a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether DATA has come.
    pub asked: bool,
    /// The lines of content that have come.
    pub content: usize,
    /// Whether the message was accepted.
    pub accepted: bool,
    /// Whether the client has gone.
    pub ended: bool,
}

/// A smarthost whose first connection waits at DATA.
pub struct Stalling {
    pub address: String,
    connections: Arc<Mutex<Vec<Connection>>>,
    go_on: mpsc::Sender<()>,
}

impl Stalling {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<Mutex<Vec<Connection>>>::default();
        let (go_on, waits) = mpsc::channel();
        let shared = connections.clone();
        thread::spawn(move || {
            let mut waits = Some(waits);
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (shared, waits) = (shared.clone(), waits.take());
                let number = {
                    let mut all = shared.lock().unwrap();
                    all.push(Connection::default());
                    all.len() - 1
                };
                thread::spawn(move || {
                    let _ = serve(&stream, waits, |told| told(&mut shared.lock().unwrap()[number]));
                    shared.lock().unwrap()[number].ended = true;
                });
            }
        });
        Self { address, connections, go_on }
    }

    /// Returns what has happened, connection by connection.
    pub fn connections(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().clone()
    }

    /// Answers the DATA of the first connection.
    pub fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

fn serve(
    stream: &TcpStream,
    waits: Option<mpsc::Receiver<()>>,
    note: impl Fn(&dyn Fn(&mut Connection)),
) -> std::io::Result<()> {
    let mut writer = stream;
    let mut is_content = false;
    writer.write_all(b"220 out.test\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let reply = match line.split(' ').next().unwrap_or_default() {
            "." => {
                is_content = false;
                note(&|connection| connection.accepted = true);
                "250 2.0.0 taken"
            }
            _ if is_content => {
                note(&|connection| connection.content += 1);
                continue;
            }
            "DATA" => {
                note(&|connection| connection.asked = true);
                if let Some(waits) = &waits {
                    let _ = waits.recv();
                }
                is_content = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        writer.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}
