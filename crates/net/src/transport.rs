//! The interface to the network: everything that connects or listens does so through [`Net`], which
//! tests replace by [`MemoryNet`].

use parking_lot::Mutex;
use posta_mail::ClientAddress;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    str::FromStr,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// One end of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An accepted connection, and the client's address.
pub type Accepted = (Box<dyn Stream>, ClientAddress);

/// The future that a network operation returns.
pub type PendingIo<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// An endpoint to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address and port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The error of text that does not name an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address has the form 127.0.0.1:25, [::1]:25 or unix:/path")]
pub struct EndpointError;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(EndpointError),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| EndpointError),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A network: opens connections and listens for them.
pub trait Net: Send + Sync + 'static {
    /// Starts to listen at an endpoint.
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> PendingIo<'a, Box<dyn Listener>>;

    /// Connects to `host:port`, or to a Unix socket, `unix:/path`.
    fn connect<'a>(&'a self, place: &'a str) -> PendingIo<'a, Box<dyn Stream>>;

    /// Connects to an address, from `source` if one is given, else from any address of this machine.
    fn connect_from(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> PendingIo<'_, Box<dyn Stream>>;
}

/// Accepts connections at one endpoint.
pub trait Listener: Send {
    /// Returns the endpoint. If port 0 was requested, the port is the one that the system chose.
    fn endpoint(&self) -> Endpoint;

    /// Waits for the next connection.
    fn accept(&mut self) -> PendingIo<'_, Accepted>;
}

/// The number of octets that a connection in memory buffers in each direction.
const MEMORY_BUFFER: usize = 16 * 1024;

/// A network in memory, for tests and simulations. `connect` reaches the endpoint that `bind` opened on
/// the same value under the same text.
#[derive(Debug, Default)]
pub struct MemoryNet {
    listeners: Mutex<HashMap<String, mpsc::Sender<tokio::io::DuplexStream>>>,
}

struct MemoryEndpoint {
    endpoint: Endpoint,
    incoming: mpsc::Receiver<tokio::io::DuplexStream>,
}

impl Net for MemoryNet {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> PendingIo<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let (sender, incoming) = mpsc::channel(16);
            let mut listeners = self.listeners.lock();
            listeners.insert(endpoint.to_string(), sender);
            let endpoint = endpoint.clone();
            Ok(Box::new(MemoryEndpoint { endpoint, incoming }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host_and_port: &'a str) -> PendingIo<'a, Box<dyn Stream>> {
        Box::pin(async move {
            let sender = {
                let listeners = self.listeners.lock();
                listeners.get(host_and_port).cloned()
            };
            let sender = sender.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(MEMORY_BUFFER);
            sender.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn connect_from(&self, to: SocketAddr, _: Option<IpAddr>) -> PendingIo<'_, Box<dyn Stream>> {
        Box::pin(async move { self.connect(&to.to_string()).await })
    }
}

impl Listener for MemoryEndpoint {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn accept(&mut self) -> PendingIo<'_, Accepted> {
        Box::pin(async move {
            let stream = self.incoming.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            let loopback = IpAddr::from([127, 0, 0, 1]);
            Ok((Box::new(stream) as Box<dyn Stream>, loopback.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for text in ["127.0.0.1:25", "[::1]:25", "unix:/run/posta/lmtp"] {
            assert_eq!(
                text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()),
                Ok(text.into())
            );
        }
        for text in ["", "25", "localhost:25", "unix:", "127.0.0.1"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError), "{text}");
        }
    }
}
