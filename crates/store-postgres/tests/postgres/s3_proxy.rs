//! A door between the store and the object store, which can be shut, slow, overloaded, or lie.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, client, http::request, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};
use tokio::net::{TcpListener, TcpStream};

/// What the door does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Door {
    /// Lets everything through.
    Open,
    /// Ends each connection without an answer.
    Shut,
    /// Answers 503, as an overloaded store does.
    Overloaded,
    /// Takes requests, and never answers.
    Slow,
    /// Answers 200 to a PUT, and keeps nothing.
    LosePuts,
    /// Lets one PUT through, and ends the connection before its answer.
    LoseAnswerToPut,
    /// Changes an octet of each object that is read.
    Alter,
    /// The same once.
    AlterOnce,
    /// Is a store of its own, whose clock is an hour ahead.
    HourAhead,
}

const ALL: [Door; 9] = [
    Door::Open,
    Door::Shut,
    Door::Overloaded,
    Door::Slow,
    Door::LosePuts,
    Door::LoseAnswerToPut,
    Door::Alter,
    Door::AlterOnce,
    Door::HourAhead,
];

/// A running proxy.
#[derive(Debug, Clone)]
pub struct S3Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    behind: String,
    door: AtomicU8,
    puts: AtomicUsize,
    heads: AtomicUsize,
    gets: AtomicUsize,
    /// What the store with the other clock has.
    kept: Mutex<HashMap<String, Bytes>>,
}

impl S3Proxy {
    /// Opens a door to the server at this address.
    pub async fn open(behind: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            behind,
            door: AtomicU8::new(Door::Open as u8),
            puts: AtomicUsize::default(),
            heads: AtomicUsize::default(),
            gets: AtomicUsize::default(),
            kept: Mutex::default(),
        });
        tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared }
    }

    /// Returns the URL of the door.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the door behave otherwise.
    pub fn set(&self, door: Door) {
        self.shared.door.store(door as u8, Ordering::SeqCst);
    }

    /// Returns the number of PUT, HEAD and GET requests so far.
    pub fn requests(&self) -> [usize; 3] {
        [&self.shared.puts, &self.shared.heads, &self.shared.gets]
            .map(|it| it.load(Ordering::SeqCst))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, shared.clone()));
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let method = head.method.clone();
    match method {
        Method::PUT => shared.puts.fetch_add(1, Ordering::SeqCst),
        Method::HEAD => shared.heads.fetch_add(1, Ordering::SeqCst),
        Method::GET => shared.gets.fetch_add(1, Ordering::SeqCst),
        _ => 0,
    };
    let closed = || io::Error::other("the door is shut");
    let once = |door: Door| {
        let open = Door::Open as u8;
        let change =
            shared.door.compare_exchange(door as u8, open, Ordering::SeqCst, Ordering::SeqCst);
        change.is_ok()
    };
    let is_get = method == Method::GET;
    match ALL[shared.door.load(Ordering::SeqCst) as usize] {
        Door::Shut => Err(closed()),
        Door::Overloaded => {
            let body =
                "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(response)
        }
        Door::Slow => std::future::pending().await,
        Door::LosePuts if method == Method::PUT => Ok(Response::new(Full::default())),
        Door::LoseAnswerToPut if method == Method::PUT => {
            forward(&shared, head, body).await?;
            once(Door::LoseAnswerToPut);
            Err(closed())
        }
        Door::Alter | Door::AlterOnce if is_get => {
            once(Door::AlterOnce);
            let (head, body) = forward(&shared, head, body).await?.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let mut altered = body.to_vec();
            if let Some(octet) = altered.get_mut(1_000) {
                *octet ^= 1;
            }
            Ok(Response::from_parts(head, Full::from(altered)))
        }
        Door::HourAhead => Ok(an_hour_ahead(&shared, &head, body)),
        _ => forward(&shared, head, body).await,
    }
}

/// Answers as a store whose clock is an hour ahead: it refuses what is signed more than 15 minutes before.
#[expect(clippy::disallowed_methods, reason = "the time of signatures is that of the system")]
fn an_hour_ahead(shared: &Shared, head: &request::Parts, body: Bytes) -> Response<Full<Bytes>> {
    let now = Timestamp::now() + SignedDuration::from_hours(1);
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let oldest = (now - SignedDuration::from_mins(15)).strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut kept = shared.kept.lock().unwrap();
    let path = head.uri.path().to_owned();
    let found = kept.get(&path).cloned();
    let mut response = Response::builder().header("date", date);
    let (status, body) = match &head.method {
        _ if head.headers["x-amz-date"].to_str().unwrap() < &oldest[..] => (403, Bytes::new()),
        &Method::PUT => {
            kept.insert(path, body);
            (200, Bytes::new())
        }
        &Method::DELETE => (204, kept.remove(&path).unwrap_or_default().slice(..0)),
        method => match found {
            Some(found) if *method == Method::HEAD => {
                response = response.header("content-length", found.len());
                (200, Bytes::new())
            }
            Some(found) => (200, found),
            None => (404, Bytes::new()),
        },
    };
    response.status(status).body(Full::from(body)).unwrap()
}

/// Passes a request on, and the answer back.
async fn forward(
    shared: &Shared,
    head: request::Parts,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let stream = TcpStream::connect(&shared.behind).await?;
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::from_parts(head, Full::new(body));
    let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}
