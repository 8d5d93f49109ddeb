//! A name server for tests, with a zone that may mean harm: slow answers, loops, answers of 64 KiB.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;

/// The largest answer over UDP; a larger one is asked for again over TCP (RFC 1035 §4.2.1).
const DATAGRAM: usize = 1_232;

/// The maximal number of aliases in one answer.
const ALIASES: usize = 20;

/// The records that a [`NameServer`] has. DnsRecords have no dot at their end.
#[derive(Default)]
pub struct DnsRecords {
    records: Vec<(String, u16, Vec<u8>)>,
    /// Ends of names, and how long the answers for them take; `None`: for ever.
    slow: Vec<(String, Option<Duration>)>,
}

impl DnsRecords {
    /// Adds an address of a host.
    pub fn address(self, name: &str, address: [u8; 4]) -> Self {
        self.add(name, A, address.to_vec())
    }

    /// Adds a host's name to those of an address, which is given by its name below `arpa`.
    pub fn ptr(self, name: &str, host: &str) -> Self {
        self.add(name, PTR, wire_name(host))
    }

    /// Adds a server that accepts a domain's mail.
    pub fn mx(self, name: &str, host: &str) -> Self {
        self.add(name, MX, [vec![0, 10], wire_name(host)].concat())
    }

    /// Makes a name an alias of another.
    pub fn alias(self, name: &str, target: &str) -> Self {
        self.add(name, CNAME, wire_name(target))
    }

    /// Adds a text, in as few strings as possible.
    pub fn txt(self, name: &str, text: &str) -> Self {
        self.strings(name, text.as_bytes().chunks(255))
    }

    /// Adds a text that consists of these strings, each of at most 255 octets.
    pub fn strings<'a>(self, name: &str, strings: impl Iterator<Item = &'a [u8]>) -> Self {
        let data = strings.flat_map(|string| [&[string.len() as u8], string].concat()).collect();
        self.add(name, TXT, data)
    }

    /// Makes answers take a time for all names that end like this.
    pub fn slow(mut self, end: &str, time: Duration) -> Self {
        self.slow.push((end.to_owned(), Some(time)));
        self
    }

    /// Makes the server give no answer for all names that end like this.
    pub fn mute(mut self, end: &str) -> Self {
        self.slow.push((end.to_owned(), None));
        self
    }

    fn add(mut self, name: &str, kind: u16, data: Vec<u8>) -> Self {
        self.records.push((name.to_owned(), kind, data));
        self
    }

    /// Serves the records over UDP and TCP until the test ends.
    pub fn serve(self) -> NameServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let (names, asked) = (Arc::new(self), Arc::new(AtomicUsize::new(0)));
        let server = NameServer { address, asked: asked.clone() };
        let (tcp_names, tcp_asked) = (names.clone(), asked.clone());
        thread::spawn(move || {
            let mut question = [0; DATAGRAM];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                asked.fetch_add(1, Ordering::Relaxed);
                let (question, names) = (question[..length].to_vec(), names.clone());
                let socket = socket.try_clone().unwrap();
                let answer = move || {
                    if let Some(answer) = names.answer(&question, DATAGRAM) {
                        let _ = socket.send_to(&answer, client);
                    }
                };
                thread::spawn(answer);
            }
        });
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (names, asked) = (tcp_names.clone(), tcp_asked.clone());
                thread::spawn(move || names.talk(stream, &asked));
            }
        });
        server
    }

    fn talk(&self, mut stream: TcpStream, asked: &AtomicUsize) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            asked.fetch_add(1, Ordering::Relaxed);
            let Some(answer) = self.answer(&question, usize::from(u16::MAX)) else { return };
            let length = (answer.len() as u16).to_be_bytes();
            if stream.write_all(&[&length, &answer[..]].concat()).is_err() {
                return;
            }
        }
    }

    /// Answers a question (RFC 1035 §4.1): with what there is, with nothing, or that there is no such name.
    fn answer(&self, question: &[u8], most: usize) -> Option<Vec<u8>> {
        let (name, end) = read_name(question);
        let kind = u16::from_be_bytes([question[end], question[end + 1]]);
        match self.slow.iter().find(|(slow, _)| name.ends_with(slow)) {
            Some((_, Some(time))) => thread::sleep(*time),
            Some((_, None)) => return None,
            None => {}
        }
        let below = format!(".{name}");
        let exists =
            self.records.iter().any(|(known, ..)| *known == name || known.ends_with(&below));
        let (count, records) = self.found(&name, kind);
        let is_cut = end + 4 + records.len() > most;
        let (count, records) = if is_cut { (0, Vec::new()) } else { (count, records) };
        // A response with authority and with recursion available; it may be truncated.
        let flags = [if is_cut { 0x87 } else { 0x85 }, if exists { 0x80 } else { 0x83 }];
        let [high, low] = count.to_be_bytes();
        let counts = [0, 1, high, low, 0, 0, 0, 0];
        Some([&question[..2], &flags, &counts, &question[12..end + 4], &records].concat())
    }

    /// Returns the number of records of a type under a name, and the records, with the aliases on the way.
    fn found(&self, name: &str, kind: u16) -> (u16, Vec<u8>) {
        let (mut count, mut records) = (0, Vec::new());
        let mut name = name.to_owned();
        for _ in 0..ALIASES {
            let mut alias = None;
            for (_, its, data) in self.records.iter().filter(|(known, ..)| *known == name) {
                if *its != kind && *its != CNAME {
                    continue;
                }
                count += 1;
                records.extend(wire_name(&name));
                // The type, IN, a minute.
                records.extend([(its >> 8) as u8, *its as u8, 0, 1, 0, 0, 0, 60]);
                records.extend((data.len() as u16).to_be_bytes());
                records.extend(data);
                if *its == CNAME {
                    alias = Some(read_name(&[&[0; 12], &data[..]].concat()).0);
                }
            }
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        (count, records)
    }
}

/// A name server on this machine.
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    /// Returns the part of the configuration that makes a server ask this one.
    pub fn configuration(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\ndnssec = false\n", self.address)
    }

    /// Returns the number of questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn wire_name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut name: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    name.push(0);
    name
}

/// Returns the name in a question, in lower case, and where it ends.
fn read_name(question: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] > 0 {
        let label = &question[at + 1..][..question[at].into()];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + label.len();
    }
    (labels.join("."), at + 1)
}
