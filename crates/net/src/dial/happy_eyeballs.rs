//! Connecting to a host that has several addresses (Happy Eyeballs, RFC 8305). If an address does not
//! answer within a quarter of a second, the next one is tried in parallel. A network with broken IPv6
//! thus costs a quarter of a second instead of half a minute.

use crate::transport::{Net, Stream};
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// The maximal time for the attempt at one address, since there may be other addresses and servers.
const CONNECT: Duration = Duration::from_secs(30);

/// The maximal number of a host's addresses that are tried. A thousand would keep an attempt busy for
/// hours.
const ADDRESSES: usize = 16;

/// The time to wait for one address before the next one is tried as well (RFC 8305 §8).
const HEAD_START: Duration = Duration::from_millis(250);

/// Returns the addresses in the order in which to try them: the families alternate, IPv6 first (RFC 8305 §4).
pub fn ordered(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut six, mut four) = (VecDeque::from(six), VecDeque::from(four));
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    while !(six.is_empty() && four.is_empty()) {
        let next = six.pop_front().into_iter().chain(four.pop_front());
        ordered.extend(next.map(|address| SocketAddr::new(address, port)));
    }
    ordered.truncate(ADDRESSES);
    ordered
}

/// Connects to the first address that answers. That address, and those that failed before it, are
/// removed from the list.
///
/// # Errors
/// When no address answers: the error and the address of the last attempt. The list is then empty.
pub async fn connect(
    addresses: &mut Vec<SocketAddr>,
    net: &Arc<dyn Net>,
    sources: &[IpAddr],
    patience: Duration,
) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
    let mut waiting = VecDeque::from(addresses.clone());
    let mut running: JoinSet<(SocketAddr, io::Result<Box<dyn Stream>>)> = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        let wait = if running.is_empty() { Duration::ZERO } else { HEAD_START };
        let head_start = sleep(wait);
        tokio::select! {
            biased;
            Some(ended) = running.join_next(), if !running.is_empty() => {
                let Ok((address, connected)) = ended else { continue };
                addresses.retain(|other| *other != address);
                match connected {
                    Ok(stream) => return Ok((stream, address)),
                    Err(why) => last = io::Error::new(why.kind(), format!("{address}: {why}")),
                }
                if running.is_empty() && waiting.is_empty() {
                    return Err(last);
                }
            }
            () = head_start, if !waiting.is_empty() => {
                let Some(address) = waiting.pop_front() else { continue };
                let source = sources.iter().find(|source| source.is_ipv6() == address.is_ipv6());
                let (net, source) = (net.clone(), source.copied());
                running.spawn(async move {
                    let connecting = net.connect_from(address, source);
                    let connected = timeout(patience.min(CONNECT), connecting).await;
                    let connected = connected.unwrap_or_else(|_| Err(nobody()));
                    (address, connected)
                });
            }
            else => return Err(last),
        }
    }
}

fn nobody() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody answers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Endpoint, Listener, PendingIo};
    use std::{future::pending, sync::Mutex};
    use tokio::time::Instant;

    /// A network in which some addresses answer, some refuse, and the others are silent.
    #[derive(Default)]
    struct Odd {
        answering: Vec<IpAddr>,
        refusing: Vec<IpAddr>,
        tried: Mutex<Vec<SocketAddr>>,
    }

    impl Net for Odd {
        fn bind<'a>(&'a self, _: &'a Endpoint) -> PendingIo<'a, Box<dyn Listener>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }

        fn connect<'a>(&'a self, _: &'a str) -> PendingIo<'a, Box<dyn Stream>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }

        fn connect_from(
            &self,
            to: SocketAddr,
            _: Option<IpAddr>,
        ) -> PendingIo<'_, Box<dyn Stream>> {
            self.tried.lock().unwrap().push(to);
            Box::pin(async move {
                if self.answering.contains(&to.ip()) {
                    return Ok(Box::new(tokio::io::duplex(1).0) as Box<dyn Stream>);
                }
                match self.refusing.contains(&to.ip()) {
                    true => Err(io::ErrorKind::ConnectionRefused.into()),
                    false => pending().await,
                }
            })
        }
    }

    const SIX: &str = "2001:db8::1";
    const FOUR: &str = "192.0.2.1";

    async fn run(odd: Odd) -> (io::Result<SocketAddr>, Vec<SocketAddr>, Duration) {
        let odd = Arc::new(odd);
        let net: Arc<dyn Net> = odd.clone();
        let addresses = [FOUR, "192.0.2.2", SIX].map(|text| text.parse().unwrap()).to_vec();
        let mut addresses = ordered(addresses, 25);
        let started = Instant::now();
        let won = connect(&mut addresses, &net, &[], Duration::from_secs(60)).await;
        let tried = odd.tried.lock().unwrap().clone();
        (won.map(|(_, address)| address), tried, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_families_race() {
        let answering = vec![FOUR.parse().unwrap()];
        let (won, tried, took) = run(Odd { answering: answering.clone(), ..Odd::default() }).await;
        assert_eq!(won.unwrap().ip(), answering[0], "IPv6 leads nowhere");
        assert_eq!((tried.len(), took), (2, HEAD_START));
        // After a refusal the next address is tried at once, until the list is empty.
        let refusing = vec![SIX.parse().unwrap(), FOUR.parse().unwrap()];
        let answering = vec!["192.0.2.2".parse().unwrap()];
        let (won, tried, took) = run(Odd { answering, refusing, ..Odd::default() }).await;
        assert_eq!((won.unwrap().ip().to_string().as_str(), tried.len()), ("192.0.2.2", 3));
        assert_eq!(took, Duration::ZERO);
        let (lost, tried, took) = run(Odd::default()).await;
        assert_eq!(lost.unwrap_err().to_string(), "192.0.2.2:25: nobody answers");
        assert_eq!((tried.len(), took), (3, CONNECT + 2 * HEAD_START));
    }
}
