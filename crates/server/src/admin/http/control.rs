//! The control socket: HTTP with JSON over a Unix socket that only the server's user can open.

use super::{Admin, Health, for_the_operator};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";

/// Opens the socket.
///
/// # Errors
/// Fails when the socket cannot be opened, for example because its path is longer than 107 octets.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    // The store's lock guarantees that no other server runs here, so an existing socket was left behind.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until the server stops, then removes it.
pub async fn serve(listener: UnixListener, path: PathBuf, admin: Admin, health: Health) {
    let mut stopping = health.stopping.clone();
    let router = for_the_operator(admin, health);
    let stopped = async move {
        // An error means that the server no longer exists, so serving stops too.
        let _ = stopping.wait_for(|&stopping| stopping).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the control socket failed");
    }
    let _ = fs::remove_file(path);
}
