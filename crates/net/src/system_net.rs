//! The operating system's network: TCP and Unix sockets.
//!
//! A listener can be open before the server asks for it: one that systemd handed over, or one that root opened before
//! it became the server's user. `bind` then takes that one.

use crate::{
    dial::happy_eyeballs,
    transport::{Accepted, Endpoint, Listener, Net, PendingIo, Stream},
};
use parking_lot::Mutex;
use posta_mail::ClientAddress;
use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener as StdUnixListener,
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream, lookup_host};

/// The operating system's network.
#[derive(Default, Clone)]
pub struct SystemNet {
    socket_mode: Option<u32>,
    /// Listeners that are open and that nobody has asked for.
    open: Arc<Mutex<HashMap<Endpoint, Box<dyn Listener>>>>,
}

impl SystemNet {
    /// Sets the mode of the Unix sockets that listeners open, which decides who may connect. By default,
    /// the umask of the process decides.
    #[must_use]
    pub fn with_socket_mode(self, mode: u32) -> Self {
        Self { socket_mode: Some(mode), ..self }
    }

    /// Opens a listener, and keeps it until `bind` asks for this endpoint.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn open(&self, endpoint: &Endpoint) -> io::Result<()> {
        let listener = self.bind(endpoint).await?;
        self.open.lock().insert(endpoint.clone(), listener);
        Ok(())
    }

    /// Takes over a TCP socket that another process opened, and keeps it until `bind` asks for its address.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn adopt_tcp(&self, listener: std::net::TcpListener) -> io::Result<Endpoint> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // Accepted connections inherit this option; see `listen`.
        rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
        let listener = TcpListener::from_std(listener)?;
        let endpoint = Endpoint::Tcp(address);
        self.open.lock().insert(endpoint.clone(), Box::new(TcpEndpoint { address, listener }));
        Ok(endpoint)
    }

    /// Takes over a Unix socket that another process opened, and keeps it until `bind` asks for its path. The socket's
    /// file is that process's: it keeps its mode, and stays when the server ends.
    ///
    /// # Errors
    /// When the socket cannot be used or has no path.
    pub fn adopt_unix(&self, listener: StdUnixListener) -> io::Result<Endpoint> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?.to_owned();
        let listener = UnixListener::from_std(listener)?;
        let endpoint = Endpoint::Unix(path.clone());
        let listener = Box::new(UnixEndpoint { path, listener, is_ours: false });
        self.open.lock().insert(endpoint.clone(), listener);
        Ok(endpoint)
    }
}

impl Net for SystemNet {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> PendingIo<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let open = self.open.lock().remove(endpoint);
            if let Some(listener) = open {
                return Ok(listener);
            }
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
                    Box::new(UnixEndpoint { path: path.clone(), listener, is_ours: true })
                }
            };
            Ok(listener)
        })
    }

    fn connect<'a>(&'a self, place: &'a str) -> PendingIo<'a, Box<dyn Stream>> {
        Box::pin(async move {
            if let Some(path) = place.strip_prefix("unix:") {
                return Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>);
            }
            let found = lookup_host(place).await.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => error,
                _ => io::Error::new(io::ErrorKind::NotFound, error),
            })?;
            let found: Vec<_> = found.collect();
            let port = found.first().map_or(0, SocketAddr::port);
            let addresses = found.iter().map(SocketAddr::ip).collect();
            let mut addresses = happy_eyeballs::ordered(addresses, port);
            let net: Arc<dyn Net> = Arc::new(self.clone());
            let won = happy_eyeballs::connect(&mut addresses, &net, &[], PATIENCE).await;
            won.map(|(stream, _)| stream)
        })
    }

    fn connect_from(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> PendingIo<'_, Box<dyn Stream>> {
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

/// The time within which an address must answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of connections that may wait to be accepted. When a burst exceeds it, clients wait a
/// second or more before they try again. The limit of the system (net.core.somaxconn) applies too.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Lingering connections of an earlier run must not prevent the start.
    socket.set_reuseaddr(true)?;
    // Replies are gathered before they are written, so waiting for more would only delay them. Accepted
    // connections inherit this option.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Removes a socket that a killed process left behind. A socket that answers belongs to another process
/// and stays.
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

    fn accept(&mut self) -> PendingIo<'_, Accepted> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, peer.ip().into()))
        })
    }
}

struct UnixEndpoint {
    path: PathBuf,
    listener: UnixListener,
    /// Whether this program made the socket's file, and removes it.
    is_ours: bool,
}

impl Listener for UnixEndpoint {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    fn accept(&mut self) -> PendingIo<'_, Accepted> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, ClientAddress::Local))
        })
    }
}

impl Drop for UnixEndpoint {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}
