//! How far this machine's clock is from a time server's (SNTP, RFC 4330 §5): for machines where nothing tells whether the
//! clock is kept right.

use posta_net::{clock::Clock, dns::Resolver};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::UdpSocket, time::timeout};

/// The servers that are asked: a random one of the public pool.
const NAME: &str = "pool.ntp.org";

const PORT: u16 = 123;

/// The time limit for the look-up, and for the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The octets of a message.
const MESSAGE: usize = 48;

/// The first octet of a question: version 4, from a client.
const QUESTION: u8 = 4 << 3 | 3;

/// The mode of a server's answer, in the low bits of the first octet.
const SERVER: u8 = 4;

/// The leap indicator of a server that does not know the time.
const UNKNOWN: u8 = 3;

/// The seconds from 1900, where NTP begins to count, to 1970.
const EPOCHS: i64 = 2_208_988_800;

/// Returns by how many seconds the clock is ahead of a time server's; negative if it is behind. None if no server answers.
pub(super) async fn ahead(resolver: &dyn Resolver, clock: &dyn Clock) -> Option<i64> {
    let found = timeout(PATIENCE, resolver.addresses(NAME)).await.ok()?.ok()?.found;
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first())?;
    let asked = ask(SocketAddr::new(*address, PORT), clock);
    timeout(PATIENCE, asked).await.ok()?.ok()
}

async fn ask(server: SocketAddr, clock: &dyn Clock) -> io::Result<i64> {
    let here: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((here, 0)).await?;
    socket.connect(server).await?;
    let mut question = [0; MESSAGE];
    question[0] = QUESTION;
    // In place of our time, which the server only repeats: whoever forges an answer would have to guess it.
    clock.random(&mut question[40..]);
    let before = clock.now();
    socket.send(&question).await?;
    loop {
        let mut answer = [0; MESSAGE];
        let length = socket.recv(&mut answer).await?;
        let after = clock.now();
        if let Some(seconds) = seconds(&answer[..length], &question) {
            let here = (before.as_millisecond() + after.as_millisecond()) / 2_000;
            // The count of seconds begins anew every 136 years: the nearest time is meant.
            let there = seconds.wrapping_sub((here + EPOCHS) as u32) as i32;
            return Ok(-i64::from(there));
        }
    }
}

/// Returns the seconds in a server's answer; none if it is not the answer to this question, or has no time.
fn seconds(answer: &[u8], question: &[u8; MESSAGE]) -> Option<u32> {
    let answer: &[u8; MESSAGE] = answer.try_into().ok()?;
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    let is_answer = mode == SERVER && answer[24..32] == question[40..];
    let seconds = u32::from_be_bytes([answer[40], answer[41], answer[42], answer[43]]);
    (is_answer && leap != UNKNOWN && (1..16).contains(&stratum) && seconds != 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_net::clock::SimulatedClock;

    /// Answers a question in a way, and returns what comes of it.
    async fn answered(now: i64, time: u32, change: fn(&mut [u8; MESSAGE])) -> Option<i64> {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let clock = SimulatedClock::new(Timestamp::from_second(now).unwrap(), 7);
        let answering = async {
            let mut question = [0; MESSAGE];
            let (_, client) = server.recv_from(&mut question).await.unwrap();
            assert_eq!(question[0], 0x23);
            let mut answer = [0; MESSAGE];
            (answer[0], answer[1]) = (SERVER, 2);
            answer[24..32].copy_from_slice(&question[40..]);
            answer[40..44].copy_from_slice(&time.to_be_bytes());
            change(&mut answer);
            server.send_to(&answer, client).await.unwrap();
        };
        let asked = timeout(Duration::from_millis(200), ask(address, &clock));
        let (asked, ()) = tokio::join!(asked, answering);
        asked.ok().map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_clock_is_compared() {
        let now = 1_800_000_000;
        let there = (now + EPOCHS) as u32;
        assert_eq!(answered(now, there, |_| {}).await, Some(0));
        assert_eq!(answered(now, there - 90, |_| {}).await, Some(90));
        assert_eq!(answered(now, there + 7, |_| {}).await, Some(-7));
        // A machine without a clock of its own begins with 1970.
        assert_eq!(answered(0, there, |_| {}).await, Some(-now));
        // In 2036, NTP begins anew.
        let later = 2_085_978_496;
        assert_eq!(answered(later + 5, 4, |_| {}).await, Some(1));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_not_believed() {
        let forged: [fn(&mut [u8; MESSAGE]); 5] = [
            |answer| answer[24] ^= 1,
            |answer| answer[0] = QUESTION,
            |answer| answer[0] |= UNKNOWN << 6,
            |answer| answer[1] = 0,
            |answer| answer[40..44].fill(0),
        ];
        for (number, change) in forged.into_iter().enumerate() {
            assert_eq!(answered(1_800_000_000, 9, change).await, None, "{number}");
        }
    }
}
