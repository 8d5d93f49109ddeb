//! Carries out an operator's request: by the server if one runs, else on the store itself.

mod session;
mod shared;

pub(crate) use crate::fault::UNEXPECTED;
pub(crate) use session::AdminSession;
pub(crate) use shared::SharedSession;

use crate::{
    Place,
    config::Config,
    fault::{demand, fail, fault},
    private, runtime, wiring,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use posta_server::{
    admin::{
        AccountLine, Admin, AliasLine, Request, Response, control,
        http::{self, Problem},
        looking::{FollowLine, FollowRequest},
    },
    collect::Collectors,
};
use posta_store::Store;
use std::{io, path::Path, sync::Arc, thread, time::Duration};
use tokio::{net::UnixStream, sync::oneshot, time::timeout};

/// The largest response, in octets: room for the history of messages with very many recipients.
const ANSWER: usize = 256 * 1024 * 1024;

/// The longest line of a history that is followed, in octets.
const EVENT: usize = 16 * 1024 * 1024;

/// The longest answer to the question whether the server is ready, in octets.
const WORD: usize = 256;

/// How long that answer may take: the server syncs its store for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries out a request on the server or the store of a place.
pub(crate) async fn execute(place: &Place, request: Request) -> Result<Response> {
    let config = wiring::config(place)?;
    let socket = config.data.join(control::SOCKET);
    match UnixStream::connect(&socket).await {
        Ok(stream) => match ask_server(stream, &request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(problem)) => Err(refused(problem)),
            Err(error) => Err(error)
                .with_context(|| format!("the server at {} did not do it", socket.display())),
        },
        Err(error) if is_absent(&error) => on_store(config, request).await,
        Err(error) => Err(error).with_context(|| server_unusable(&socket)),
    }
}

fn server_unusable(socket: &Path) -> String {
    format!(
        "the control socket {} cannot be used; run this as root, or as the server's user",
        socket.display()
    )
}

/// Returns all accounts of a place, by address.
pub(crate) async fn accounts(place: &Place) -> Result<Vec<AccountLine>> {
    SharedSession::open(place).await?.accounts().await
}

/// Returns all aliases of a place, by name.
pub(crate) async fn aliases(place: &Place) -> Result<Vec<AliasLine>> {
    SharedSession::open(place).await?.aliases().await
}

/// Returns whether an error means that no server runs: the socket does not exist, or a killed server left it. If the data
/// directory is a file, opening the store says so.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | ConnectionRefused)
}

/// Returns whether a request may create the store.
const fn begins(request: &Request) -> bool {
    matches!(request, Request::AccountAdd { .. } | Request::DomainAdd { .. })
}

/// Carries out a request on the store, as the user who owns it.
async fn on_store(config: Config, request: Request) -> Result<Response> {
    if let Some(store) = wiring::open_database(&config).await? {
        let done = admin_on(store.clone(), &config)?.execute(request).await;
        // What the command claimed, such as a source that it visited, is free for the servers again.
        if let Err(error) = store.leave().await {
            tracing::debug!("the command did not leave the cluster: {error}");
        }
        return Ok(done?);
    }
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
    Ok(admin(config)?.execute(request).await?)
}

/// Opens the embedded store, and returns an operator that works on it.
fn admin(config: &Config) -> Result<Admin> {
    let tags = config.tag_separators.clone();
    let store = wiring::open_store(&config.data, config.key_file.as_deref(), tags)?;
    admin_on(store, config)
}

/// Returns an operator that works on a store.
fn admin_on(store: Arc<dyn Store>, config: &Config) -> Result<Admin> {
    let means = wiring::means(config)?;
    let collectors = Arc::new(Collectors::new(store.clone(), means));
    let admin = Admin::new(store, wiring::clock(), collectors);
    let admin = admin.with_data_directory(config.data.clone());
    Ok(match config.relay.settings() {
        Ok(relay) => admin.with_queue_lifetime(relay.longest_lifetime()),
        // A smarthost's password that cannot be read keeps nobody from other work.
        Err(_) => admin,
    })
}

/// Carries out a request on the running server at a place, never on the store itself.
pub(crate) async fn ask_running(place: &Place, request: Request) -> Result<Response> {
    let stream = connect(place).await?;
    ask_server(stream, &request).await?.map_err(refused)
}

/// Asks the running server at a place whether it would take mail now. Returns its answer, or why there is none.
pub(crate) async fn is_ready(place: &Place) -> Result<()> {
    let mut sender = speak(connect(place).await?).await?;
    let request = hyper::Request::get("/readyz").header("host", "posta").body(Full::default())?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let is_ready = answer.status() == StatusCode::OK;
        let word = Limited::new(answer.into_body(), WORD).collect().await;
        let word = word.map_err(|error| anyhow!(error))?.to_bytes();
        anyhow::Ok((is_ready, String::from_utf8_lossy(&word).trim().to_owned()))
    };
    let Ok(answered) = timeout(PATIENCE, answered).await else {
        fail!("not-ready", "the server has not answered for {} s", PATIENCE.as_secs())
    };
    let (is_ready, word) = answered.context("the server did not answer")?;
    demand!(is_ready, "not-ready", "the server would take no mail now: {word}");
    Ok(())
}

/// Connects to the running server at a place.
async fn connect(place: &Place) -> Result<UnixStream> {
    let config = wiring::config(place)
        .context("the server is not asked, and goes on with what it has read before")?;
    let socket = config.data.join(control::SOCKET);
    UnixStream::connect(&socket).await.map_err(|error| match is_absent(&error) {
        true => fault("no-server", format!(
            "no server runs with the control socket {}: `posta serve` starts one. If it runs elsewhere, say where \
             with --config FILE, POSTA_CONFIG or --data DIR",
            socket.display()
        )),
        false => anyhow::Error::new(error).context(server_unusable(&socket)),
    })
}

/// Follows the history of the running server at a place: calls `line` for each event that `named` concerns, and for
/// each gap, until the server stops.
pub(crate) async fn follow(
    place: &Place,
    named: Option<String>,
    mut line: impl FnMut(FollowLine) -> Result<()>,
) -> Result<()> {
    let body = serde_json::to_vec(&FollowRequest { named })?;
    let mut answer = post(connect(place).await?, http::FOLLOW, body).await?;
    ensure!(answer.status() == StatusCode::OK, "the server answered {}", answer.status());
    let mut read = Vec::new();
    while let Some(frame) = answer.frame().await {
        let Ok(octets) = frame.context("the server went away")?.into_data() else { continue };
        read.extend_from_slice(&octets);
        while let Some(end) = read.iter().position(|octet| *octet == b'\n') {
            let whole: Vec<_> = read.drain(..=end).collect();
            if end > 0 {
                line(serde_json::from_slice(&whole).context("the answer is not understood")?)?;
            }
        }
        ensure!(read.len() <= EVENT, "the answer has an endless line");
    }
    Ok(())
}

/// Posts a request to the control socket, and returns the answer.
async fn post(stream: UnixStream, path: &str, body: Vec<u8>) -> Result<hyper::Response<Incoming>> {
    post_over(&mut speak(stream).await?, path, body).await
}

/// Begins HTTP on a connection, which ends with the sender, once the answer is read.
async fn speak(stream: UnixStream) -> Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Posts a request over a connection, and returns the answer.
async fn post_over(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    path: &str,
    body: Vec<u8>,
) -> Result<hyper::Response<Incoming>> {
    let request = hyper::Request::post(path)
        .header("host", "posta")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    Ok(sender.send_request(request).await?)
}

/// Returns the error that the server reported.
fn refused(problem: Problem) -> anyhow::Error {
    fault(problem.code, problem.detail)
}

/// Reads the server's response, or the error that it reports.
async fn ask_server(stream: UnixStream, request: &Request) -> Result<Result<Response, Problem>> {
    ask(&mut speak(stream).await?, request).await
}

/// The same over a connection that stays.
async fn ask(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: &Request,
) -> Result<Result<Response, Problem>> {
    let (path, body) = http::path_and_body(request)?;
    let answer = post_over(sender, &path, body).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    if status == StatusCode::NO_CONTENT {
        return Ok(Ok(Response::Done));
    }
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map(Ok).context("the answer is not understood");
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => bail!("it answered {status}: {}", String::from_utf8_lossy(&body)),
    }
}
