//! The documents that the server publishes over HTTPS: only the MTA-STS policy of its domains (RFC 8461
//! §3.2). `listen` hands connections over.

use crate::send::trust::mta_sts::Policy;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HOST},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use posta_net::transport::Stream;
use std::{convert::Infallible, io, time::Duration};
use tokio::time::timeout;

/// The maximal duration of a connection. There is only one document to fetch.
const PATIENCE: Duration = Duration::from_secs(30);

/// The policy's path (RFC 8461 §3.3).
const PATH: &str = "/.well-known/mta-sts.txt";

/// The maximal number of octets in the head of a request.
const HEAD: usize = 8 * 1024;

/// Serves one connection.
///
/// # Errors
/// When the connection fails, or takes longer than 30 seconds.
pub async fn serve(stream: Box<dyn Stream>, policy: &Policy) -> io::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, policy);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    timeout(PATIENCE, connection).await?.map_err(io::Error::other)
}

fn answer<B>(request: &Request<B>, policy: &Policy) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // The host name determines whose policy is requested: `mta-sts.x.test` has that of `x.test`.
    let is_ours = host.to_ascii_lowercase().starts_with("mta-sts.");
    let status = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, PATH) if is_ours => StatusCode::OK,
        (&Method::GET | &Method::HEAD, _) => StatusCode::NOT_FOUND,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let body = if status == StatusCode::OK { policy.text() } else { String::new() };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::trust::mta_sts::Mode;

    #[test]
    fn only_the_policy_is_told() {
        let policy = Policy { mode: Mode::Enforce, mx: vec!["mail.x.test".into()], max_age: 60 };
        for (method, host, path, status) in [
            ("GET", "mta-sts.x.test", PATH, 200),
            ("GET", "MTA-STS.X.test", PATH, 200),
            ("GET", "x.test", PATH, 404),
            ("GET", "mta-sts.x.test", "/", 404),
            ("POST", "mta-sts.x.test", PATH, 405),
        ] {
            let request = Request::builder().method(method).uri(path).header("host", host);
            let answer = answer(&request.body(()).unwrap(), &policy);
            assert_eq!(answer.status().as_u16(), status, "{method} {host} {path}");
        }
    }
}
