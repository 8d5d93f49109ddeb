//! Carries out an operator's request: by the server if one runs, else on the store itself.

use crate::{Place, config::Config, private, runtime, wiring};
use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use posta_server::{
    admin::{
        Admin, Request, Response,
        control::{self, Problem},
    },
    collect::Collectors,
};
use std::{io, sync::Arc, thread};
use tokio::{net::UnixStream, sync::oneshot};

/// The largest response, in octets: room for a list of a million accounts.
const ANSWER: usize = 256 * 1024 * 1024;

/// The error for a response that does not fit the request.
pub(crate) const UNEXPECTED: &str = "the server's response does not fit the request: it may be of another version than \
    this command; restart it";

/// Carries out a request on the server or the store of a place.
pub(crate) async fn execute(place: &Place, request: Request) -> Result<Response> {
    let config = wiring::config(place)?;
    let socket = config.data.join(control::SOCKET);
    match UnixStream::connect(&socket).await {
        Ok(stream) => match ask_server(stream, &request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(problem)) => bail!(problem),
            Err(error) => Err(error)
                .with_context(|| format!("the server at {} did not do it", socket.display())),
        },
        Err(error) if is_absent(&error) => on_store(config, request).await,
        Err(error) => Err(error).with_context(|| {
            format!(
                "the control socket {} cannot be used; run this as root, or as the server's user",
                socket.display()
            )
        }),
    }
}

/// Returns whether an error means that no server runs: the socket does not exist, or a killed server left it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Returns whether a request may create the store.
const fn begins(request: &Request) -> bool {
    matches!(request, Request::AccountAdd { .. } | Request::DomainAdd { .. })
}

/// Carries out a request on the store, as the user who owns it.
async fn on_store(config: Config, request: Request) -> Result<Response> {
    if !begins(&request) {
        wiring::expect_store(&config.data)?;
    }
    let Some(owner) = private::other_owner(&config.data)? else {
        return carry_out(&config, request).await;
    };
    // Who a program is, is a thread's own affair, and its threads' after it: so all that touches the store
    // is done on a new thread and a runtime of its own.
    let (done, outcome) = oneshot::channel();
    thread::Builder::new().name("owner".to_owned()).spawn(move || {
        let carried_out = owner
            .become_it()
            .and_then(|()| runtime::block_on(async { carry_out(&config, request).await }));
        // Whoever waits is there until the end.
        let _ = done.send(carried_out);
    })?;
    outcome.await?
}

async fn carry_out(config: &Config, request: Request) -> Result<Response> {
    let store = wiring::open_store(&config.data, config.key_file.as_deref())?;
    let means = wiring::means(config)?;
    let collectors = Arc::new(Collectors::new(store.clone(), means));
    let admin = Admin::new(store, wiring::clock(), collectors);
    let admin = match config.relay.settings() {
        Ok(relay) => admin.with_queue_lifetime(relay.longest_lifetime()),
        // A smarthost's password that cannot be read keeps nobody from other work.
        Err(_) => admin,
    };
    Ok(admin.execute(request).await?)
}

/// Reads the server's response, or the error that it reports.
async fn ask_server(stream: UnixStream, request: &Request) -> Result<Result<Response, String>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, when the sender is dropped.
    let connection = tokio::spawn(connection);
    let body = Full::new(Bytes::from(serde_json::to_vec(request)?));
    let request = hyper::Request::post(control::ROUTE)
        .header("host", "posta")
        .header("content-type", "application/json")
        .body(body)?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map(Ok).context("the answer is not understood");
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Ok(Err(problem.error)),
        Err(_) => bail!("it answered {status}: {}", String::from_utf8_lossy(&body)),
    }
}
