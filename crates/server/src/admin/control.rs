//! The control socket: HTTP with JSON over a Unix socket that only the server's user can open.

use crate::admin::{Admin, Request, Response};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::{net::UnixListener, sync::watch};

/// The path to which requests are posted.
pub const ROUTE: &str = "/v1/admin";

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";

/// The body of a response other than 200.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The error, for a person.
    pub error: String,
}

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
pub async fn serve(
    listener: UnixListener,
    path: PathBuf,
    admin: Admin,
    mut stopping: watch::Receiver<bool>,
) {
    let router = Router::new().route(ROUTE, post(execute)).with_state(admin);
    let stopped = async move {
        // An error means that the server no longer exists, so serving stops too.
        let _ = stopping.wait_for(|&stopping| stopping).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the control socket failed");
    }
    let _ = fs::remove_file(path);
}

async fn execute(
    State(admin): State<Admin>,
    Json(request): Json<Request>,
) -> Result<Json<Response>, (StatusCode, Json<Problem>)> {
    match admin.execute(request).await {
        Ok(response) => Ok(Json(response)),
        Err(error) => {
            let problem = Problem { error: error.to_string() };
            Err((StatusCode::UNPROCESSABLE_ENTITY, Json(problem)))
        }
    }
}
