//! The first promise for sending: accepted mail is at its destination, in the queue, or reported to its
//! sender, whatever happens to the server and to those that it talks to.

use posta_tests::{Place, pop3, program, stdout, times};
use socket2::{Domain, Socket, Type};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, sleep},
    time::Duration,
};

/// The number of messages, by default. `POSTA_KILLS=100 POSTA_MESSAGES=10000 cargo test --release -p
/// posta-tests --test crash relay` takes a minute.
const MESSAGES: usize = 2_000;
const KILLS: usize = 15;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn asked(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// The behaviour of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Healthy,
    /// From time to time it replies with 4xx, disconnects in the middle, or disconnects without a reply
    /// after the end.
    Failing,
    Refusing,
}

/// A server, and the number of times that it received each message.
#[derive(Clone)]
struct Sink {
    address: String,
    got: Arc<Mutex<HashMap<String, usize>>>,
}

impl Sink {
    fn start(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let sink = Self { address, got: Arc::default() };
        let (got, turn) = (sink.got.clone(), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (got, turn) = (got.clone(), turn.clone());
                thread::spawn(move || {
                    // Broken connections are the purpose of this test.
                    let _ = serve(stream.unwrap(), manner, &got, &turn);
                });
            }
        });
        sink
    }

    /// Returns the number of messages, and the number of superfluous copies.
    fn counts(&self) -> (usize, usize) {
        let got = self.got.lock().unwrap();
        (got.len(), got.values().map(|count| count - 1).sum())
    }
}

fn serve(
    stream: TcpStream,
    manner: Manner,
    got: &Mutex<HashMap<String, usize>>,
    turn: &AtomicUsize,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    output.write_all(b"220 sink\r\n")?;
    let mut line = String::new();
    // The kind of failure for this message, if any.
    let mut trouble = 0;
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default() {
            "EHLO" => output.write_all(b"250-sink\r\n250 PIPELINING\r\n")?,
            "MAIL" => {
                trouble = match manner {
                    Manner::Failing => turn.fetch_add(1, Ordering::Relaxed) % 20,
                    _ => 0,
                };
                match trouble {
                    7 => return Ok(()),
                    11 => output.write_all(b"451 4.3.0 not now\r\n")?,
                    _ => output.write_all(b"250 ok\r\n")?,
                }
            }
            "RCPT" if manner == Manner::Refusing => {
                output.write_all(b"550 5.1.1 no such user\r\n")?
            }
            "DATA" if manner == Manner::Refusing || trouble == 11 => {
                output.write_all(b"503 no recipients\r\n")?;
            }
            "DATA" => {
                output.write_all(b"354 go\r\n")?;
                let number = content(&mut input)?;
                // Accepting takes longer on PostgreSQL, and there is to be something left to send when the kills begin.
                sleep(Duration::from_millis(times(100, 300) as u64));
                match trouble {
                    3 => return Ok(()),
                    13 => output.write_all(b"452 4.2.2 full\r\n")?,
                    17 => {
                        *got.lock().unwrap().entry(number).or_default() += 1;
                        return Ok(());
                    }
                    _ => {
                        *got.lock().unwrap().entry(number).or_default() += 1;
                        output.write_all(b"250 kept\r\n")?;
                    }
                }
            }
            "QUIT" => {
                output.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => output.write_all(b"250 ok\r\n")?,
        }
    }
}

/// Reads a message to its end. Returns its number.
fn content(input: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let (mut number, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(found) = line.strip_prefix("X-Posta-Bench: ") {
            number = found.trim().to_owned();
        }
        if line == ".\r\n" {
            return Ok(number);
        }
    }
}

fn queued(place: &Place) -> HashMap<String, usize> {
    let told = stdout(&place.posta(&["queue", "list", "--json"], ""));
    let lines: serde_json::Value = serde_json::from_str(&told).unwrap();
    let mut counts = HashMap::new();
    for line in lines.as_array().unwrap() {
        *counts.entry(line["destination"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// Returns the numbers of the messages that the reports in the mailbox are about, each with its count.
fn reported(place: &Place) -> HashMap<String, usize> {
    let mut wire = pop3(place.address("pop3"), "ana");
    let mut numbers = HashMap::new();
    for number in 1..=wire.listing("LIST").len() {
        let lines = wire.listing(&format!("RETR {number}"));
        let field = lines.iter().find_map(|line| line.strip_prefix("X-Posta-Bench: ")).unwrap();
        *numbers.entry(field.to_owned()).or_default() += 1;
    }
    numbers
}

/// Makes a server that relays mail for each of four domains to another server.
fn place(servers: [&String; 4]) -> Place {
    let place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let routes: String = servers.iter().enumerate().map(|(number, server)| {
        format!("[[relay.domain]]\nname = \"d000{number}.r.test\"\nsmarthost = \"{server}\"\ntls = \"none\"\n")
    }).collect();
    let relay = format!(
        "[relay]\nnetworks = [\"127.0.0.1/32\"]\nretry = [\"1s\"]\ngive-up = \"1h\"\ndelay-notice = \"1h\"\n{routes}"
    );
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace("[limits]", &format!("{relay}[limits]"))).unwrap();
    place
}

/// kill -9, many times at random, while thousands of numbered messages go to a healthy server, to one
/// that fails in every way, to one that refuses them, and to one that is unreachable until the end.
#[test]
fn kill_9_while_relaying_loses_nothing() {
    let messages = asked("POSTA_MESSAGES", times(MESSAGES, MESSAGES / 2));
    let kills = asked("POSTA_KILLS", times(KILLS, KILLS / 3));
    let each = messages / 4;
    let [healthy, failing, refusing] = [Manner::Healthy, Manner::Failing, Manner::Refusing]
        .map(|manner| Sink::start(TcpListener::bind("127.0.0.1:0").unwrap(), manner));
    // The port is bound, so that no other process gets it meanwhile, but not listening yet.
    let absent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    absent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let dead = absent.local_addr().unwrap().as_socket().unwrap().to_string();
    let mut place = place([&healthy.address, &failing.address, &refusing.address, &dead]);
    place.add_account("ana@x.test");
    place.start();
    let sent = Command::new(program())
        .args(["bench", "smtp", place.address("smtp"), "--to", "u@r.test", "--from", "ana@x.test"])
        .args(["--domains", "4", "--messages", &messages.to_string(), "--sessions", "8"])
        .args(["--size", "1KiB", "--json"])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    // A simple generator, so that a failure can be reproduced.
    let mut random = 88_172_645_463_325_252_u64;
    let mut kills_at_work = 0;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        sleep(Duration::from_millis(random % 150));
        kills_at_work += usize::from(healthy.counts().0 < each);
        place.kill();
        place.start();
    }
    let mut waited = 0;
    loop {
        let left = queued(&place);
        let others = left.iter().filter(|(domain, _)| *domain != "d0003.r.test");
        if others.map(|(_, count)| count).sum::<usize>() == 0 {
            assert_eq!(left.get("d0003.r.test"), Some(&each), "they all wait: {left:?}");
            break;
        }
        waited += 1;
        assert!(waited < 120, "{left:?}");
        sleep(Duration::from_secs(1));
    }
    absent.listen(128).unwrap();
    let revived = Sink::start(absent.into(), Manner::Healthy);
    while !queued(&place).is_empty() {
        waited += 1;
        assert!(waited < 240, "{:?}", queued(&place));
        sleep(Duration::from_secs(1));
    }
    let reports = reported(&place);
    assert_eq!(reports.len(), each, "each refusal is told of");
    assert!(reports.values().all(|&count| count == 1), "once");
    println!("{kills} kills, {kills_at_work} of them before the healthy server had everything");
    for (name, sink) in [("healthy", &healthy), ("failing", &failing), ("revived", &revived)] {
        let (got, repeats) = sink.counts();
        println!("{name}: {got} messages, {repeats} repeats");
        assert_eq!(got, each, "{name}: nothing is lost");
    }
    // Messages in flight when the server was killed are repeated: at most as many as its connections
    // carry. The kill after the last message arrived may have preceded its settlement.
    let (_, repeats) = healthy.counts();
    assert!(repeats <= (kills_at_work + 1) * 40, "{repeats} repeats");
    assert_eq!(revived.counts().1, 0, "without a crash nothing is sent twice");
}
