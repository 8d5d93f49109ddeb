//! Whether the server lives, and whether it can take mail: for supervisors and load balancers. Anyone may ask, over
//! HTTPS too, and learns no more than a word.

use axum::{Router, extract::State, http::StatusCode, routing::get};
use posta_store::{Store, StoreError};
use std::sync::Arc;
use tokio::sync::watch;

/// What the answers depend on.
#[derive(Clone)]
pub struct Health {
    /// The store, which has to be able to commit.
    pub store: Arc<dyn Store>,
    /// Whether the server is stopping.
    pub stopping: watch::Receiver<bool>,
}

/// Returns the routes. The sockets of all listeners were bound before anything is served.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    let unready = |word| (StatusCode::SERVICE_UNAVAILABLE, word);
    if *health.stopping.borrow() {
        return unready("stopping\n");
    }
    let standing = health.store.standing();
    if standing.is_draining {
        return unready("draining\n");
    }
    if !standing.is_live {
        return unready("no-heartbeat\n");
    }
    match health.store.ready().await {
        Ok(()) if standing.has_wrong_clock() => (StatusCode::OK, "ready\nclock-differs\n"),
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(StoreError::Full) => unready("disk-full\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            unready("store-failed\n")
        }
    }
}
