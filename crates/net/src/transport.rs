//! The seam to the network: everything that connects or listens does so through [`Net`], which tests replace by
//! [`MemoryNet`].

use parking_lot::Mutex;
use posta_mail::ClientAddress;
use std::{
    collections::HashMap,
    fmt, fs,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::PathBuf,
    pin::Pin,
    str::FromStr,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
};

/// One end of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An accepted connection, and the client's address.
pub type Accepted = (Box<dyn Stream>, ClientAddress);

/// The future of a network operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Where to listen.
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
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Box<dyn Listener>>;

    /// Connects to `host:port`.
    fn connect<'a>(&'a self, host_and_port: &'a str) -> Pending<'a, Box<dyn Stream>>;

    /// Connects to an address, from `source` if one is given, else from any address of this machine.
    fn connect_from(&self, to: SocketAddr, source: Option<IpAddr>) -> Pending<'_, Box<dyn Stream>>;
}

/// Accepts connections at one endpoint.
pub trait Listener: Send {
    /// Returns where it listens: for port 0, with the port that was chosen.
    fn endpoint(&self) -> Endpoint;

    /// Waits for the next connection.
    fn accept(&mut self) -> Pending<'_, Accepted>;
}

/// The system's network.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemNet {
    socket_mode: Option<u32>,
}

impl SystemNet {
    /// Sets who may connect to the Unix sockets that listeners open, as the mode of their files. By
    /// default the process's umask decides.
    #[must_use]
    pub const fn with_socket_mode(self, mode: u32) -> Self {
        Self { socket_mode: Some(mode) }
    }
}

impl Net for SystemNet {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = match endpoint {
                Endpoint::Tcp(address) => {
                    let listener = listen(*address)?;
                    Box::new(TcpEndpoint { address: listener.local_addr()?, listener })
                }
                Endpoint::Unix(path) => {
                    remove_stale_socket(path).await?;
                    let listener = UnixListener::bind(path)?;
                    if let Some(mode) = self.socket_mode {
                        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                    }
                    Box::new(UnixEndpoint { path: path.clone(), listener })
                }
            };
            Ok(listener)
        })
    }

    fn connect<'a>(&'a self, host_and_port: &'a str) -> Pending<'a, Box<dyn Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(host_and_port).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn connect_from(&self, to: SocketAddr, source: Option<IpAddr>) -> Pending<'_, Box<dyn Stream>> {
        Box::pin(async move {
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            socket.set_nodelay(true)?;
            Ok(Box::new(socket.connect(to).await?) as Box<dyn Stream>)
        })
    }
}

/// Connections that may wait to be taken. When a burst exceeds it, clients wait a second or more
/// for their next attempt; the system's own limit (net.core.somaxconn) applies too.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of the last run that linger must not keep this one from starting.
    socket.set_reuseaddr(true)?;
    // Replies are gathered before they are written; waiting for more would only delay them. The
    // connections that are taken inherit it.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that a killed process left behind is in the way; one that answers is not ours to take.
async fn remove_stale_socket(path: &PathBuf) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => return Ok(()),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

struct TcpEndpoint {
    address: SocketAddr,
    listener: TcpListener,
}

impl Listener for TcpEndpoint {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address)
    }

    fn accept(&mut self) -> Pending<'_, Accepted> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer.ip().into()))
        })
    }
}

struct UnixEndpoint {
    path: PathBuf,
    listener: UnixListener,
}

impl Listener for UnixEndpoint {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    fn accept(&mut self) -> Pending<'_, Accepted> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, ClientAddress::Local))
        })
    }
}

impl Drop for UnixEndpoint {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Octets that a connection in memory buffers in each direction.
const MEMORY_BUFFER: usize = 16 * 1024;

/// A network in memory, for tests and simulations: `connect` reaches the endpoint that `bind` opened on the same
/// value under the same text.
#[derive(Debug, Default)]
pub struct MemoryNet {
    listeners: Mutex<HashMap<String, mpsc::Sender<tokio::io::DuplexStream>>>,
}

struct MemoryEndpoint {
    endpoint: Endpoint,
    incoming: mpsc::Receiver<tokio::io::DuplexStream>,
}

impl Net for MemoryNet {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let (sender, incoming) = mpsc::channel(16);
            let mut listeners = self.listeners.lock();
            listeners.insert(endpoint.to_string(), sender);
            let endpoint = endpoint.clone();
            Ok(Box::new(MemoryEndpoint { endpoint, incoming }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host_and_port: &'a str) -> Pending<'a, Box<dyn Stream>> {
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

    fn connect_from(&self, to: SocketAddr, _: Option<IpAddr>) -> Pending<'_, Box<dyn Stream>> {
        Box::pin(async move { self.connect(&to.to_string()).await })
    }
}

impl Listener for MemoryEndpoint {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn accept(&mut self) -> Pending<'_, Accepted> {
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
