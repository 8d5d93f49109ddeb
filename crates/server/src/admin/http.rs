//! The interface of the operator over HTTP with JSON: an operation for each [`Request`], at `/v1/NAME`.
//!
//! [`control`] serves it on a Unix socket, where whoever can connect is the operator, and `web` over
//! HTTPS, where a [`Caller`] shows a token. What else only the operator may see is a line in [`routes`]. `operations` derives the operations from the requests, [`openapi`] describes
//! them, `problem` has the errors.

pub mod control;
mod follow;
mod health;
pub mod openapi;
mod operations;
mod problem;
mod rights;

pub use health::{Health, routes as health};
pub use problem::Problem;

pub(crate) use super::looking::JSON_LINES;
use super::{Act, Admin, Needs, Request, Response, Scope, looking};
use crate::login::{api_tokens::ApiToken, login_log};
use axum::{
    Extension, Json, Router,
    body::to_bytes,
    extract::{Path, Request as HttpRequest, State},
    http::{HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response as HttpResponse},
    routing::{get, post},
};
use operations::{Misfit, Object, Operations, name_and_fields};
use posta_mail::ClientAddress;
use std::{future::pending, panic::resume_unwind, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The path at which the history is followed.
pub const FOLLOW: &str = "/v1/follow";

/// The path of the metrics, for Prometheus.
pub const METRICS: &str = "/metrics";

/// The largest body of a request of a program with a token, in octets.
const BODY: usize = 1024 * 1024;

/// The largest body of a request of the operator on the machine, who brings back large messages.
const OPERATORS_BODY: usize = 8 * BODY;

/// The time within which a body must have come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most operations that programs with a token have carried out at the same time. An operation goes on when its client
/// is gone, so the limits on sessions do not bound them.
const AT_ONCE: usize = 64;

/// The requests that the operations are.
pub struct Requests(Operations);

/// What the handlers share.
#[derive(Clone)]
struct Interface {
    admin: Admin,
    requests: Arc<Requests>,
    /// What programs with a token have carried out at the same time.
    at_once: Arc<Semaphore>,
}

/// Who sends a request.
#[derive(Clone)]
pub enum Caller {
    /// The operator on the machine of the server, who may do everything.
    Operator,
    /// A program with a token.
    Token(TokenCaller),
}

/// A program with a token.
#[derive(Clone)]
pub struct TokenCaller {
    /// The token.
    pub token: Arc<ApiToken>,
    /// The address of the program.
    pub client: ClientAddress,
}

/// Returns the routes of the interface. Each request must carry a [`Caller`] as an extension.
pub fn routes(admin: Admin) -> Router {
    let overviews = overviews(admin.clone());
    let interface = Interface::new(admin);
    Router::new()
        .route("/v1/openapi.json", get(describe))
        .route("/v1/{operation}", get(read).post(carry_out))
        .method_not_allowed_fallback(wrong_method)
        .with_state(interface)
        .merge(overviews)
        .layer(map_response(uncached))
}

/// Returns what shows the whole server, for those who may see it. Another page of that kind is a line here.
fn overviews(admin: Admin) -> Router {
    Router::new()
        .route(METRICS, get(looking::metrics))
        .route(FOLLOW, post(follow::follow))
        .route_layer(from_fn_with_state(admin.clone(), for_the_whole_server))
        .with_state(admin)
}

/// Returns all that the control socket serves: the interface for the operator on the machine.
fn for_the_operator(admin: Admin, health: Health) -> Router {
    let operator = routes(admin).layer(Extension(Caller::Operator));
    operator.merge(self::health(health)).fallback(nothing)
}

/// Refuses tokens that are for certain domains only.
async fn for_the_whole_server(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
    next: Next,
) -> Result<HttpResponse, Problem> {
    if let Caller::Token(TokenCaller { token, .. }) = caller {
        let needs = Needs { act: Act::Look, scope: Scope::Server };
        admin.check_rights(&token, &needs).await?;
    }
    Ok(next.run(request).await)
}

/// Returns the path of a request's operation, and the body to post there.
///
/// # Errors
/// When the request cannot be written as JSON.
pub fn path_and_body(request: &Request) -> Result<(String, Vec<u8>), serde_json::Error> {
    let (name, fields) = name_and_fields(request)?;
    Ok((format!("/v1/{name}"), serde_json::to_vec(&fields)?))
}

/// What operations return concerns nobody else, and is out of date at once.
async fn uncached(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn describe(State(interface): State<Interface>) -> HttpResponse {
    Json(openapi::description(&interface.requests.0)).into_response()
}

async fn nothing() -> Problem {
    let detail = "there is nothing at this path; GET /v1/openapi.json describes what there is";
    Problem::new(StatusCode::NOT_FOUND, "no-such-operation", detail)
}

async fn wrong_method() -> Problem {
    let detail = "operations answer POST, and GET where they only read and need no field";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", detail)
}

/// Carries out an operation that only reads and needs no field.
async fn read(
    State(interface): State<Interface>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<HttpResponse, Problem> {
    let request = interface.requests.with_fields(&name, Object::new());
    match request {
        Ok(request) if request.needs().act != Act::Change => {
            interface.respond(&name, request, caller).await
        }
        Err(problem) if problem.status == StatusCode::NOT_FOUND.as_u16() => Err(problem),
        _ => Err(wrong_method().await),
    }
}

async fn carry_out(
    State(interface): State<Interface>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let fields = fields(request, &caller).await?;
    let request = interface.requests.with_fields(&name, fields)?;
    interface.respond(&name, request, caller).await
}

/// Reads the body of a request, a JSON object; none is an empty one.
async fn fields(request: HttpRequest, caller: &Caller) -> Result<Object, Problem> {
    let largest = match caller {
        Caller::Operator => OPERATORS_BODY,
        Caller::Token(_) => BODY,
    };
    let body = match timeout(PATIENCE, to_bytes(request.into_body(), largest)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let detail = format!("the body has more than {largest} octets, or broke off");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
        }
        Err(_) => {
            let detail = "the body did not come in time";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail));
        }
    };
    object(&body)
}

/// Reads a body, a JSON object; none is an empty one.
fn object(body: &[u8]) -> Result<Object, Problem> {
    match body.trim_ascii() {
        [] => Ok(Object::new()),
        body => serde_json::from_slice(body).map_err(|error| {
            let detail = format!("the body is no JSON object: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
        }),
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

impl Requests {
    /// Derives the operations from the requests, which takes a moment.
    #[must_use]
    pub fn new() -> Self {
        Self(Operations::new())
    }

    /// Returns the request that an operation with this body is.
    ///
    /// # Errors
    /// When there is no such operation, or the body does not fit it.
    pub fn read(&self, name: &str, body: &[u8]) -> Result<Request, Problem> {
        self.with_fields(name, object(body)?)
    }

    /// Returns the request that an operation with these fields is.
    fn with_fields(&self, name: &str, fields: Object) -> Result<Request, Problem> {
        let Some(operation) = self.0.named(name) else {
            let detail =
                format!("there is no operation {name:?}; GET /v1/openapi.json describes all");
            return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-operation", detail));
        };
        operation
            .request(fields)
            .map_err(|Misfit(why)| Problem::new(StatusCode::BAD_REQUEST, "invalid-request", why))
    }
}

impl Interface {
    fn new(admin: Admin) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Self { admin, requests: Arc::new(Requests::new()), at_once }
    }

    /// Carries out the request of a caller. What a program with a token asks for is logged.
    async fn respond(
        &self,
        name: &str,
        request: Request,
        caller: Caller,
    ) -> Result<HttpResponse, Problem> {
        let admin = self.admin.clone();
        let Caller::Token(TokenCaller { token, client }) = caller else {
            let carried_out = async move { Box::pin(admin.execute(request)).await };
            return respond(to_the_end(carried_out).await.map_err(Problem::from));
        };
        let permit = self.at_once.clone().acquire_owned().await;
        let of = token.clone();
        let carried_out = to_the_end(async move {
            let _permit = permit;
            Box::pin(admin.execute_for(&of, request)).await
        });
        let carried_out = carried_out.await.map_err(Problem::from);
        let outcome = carried_out.as_ref().map_or_else(|problem| problem.code.as_str(), |_| "done");
        log(&token, client, name, outcome);
        respond(carried_out)
    }
}

/// Logs what a program with a token asked for.
fn log(token: &ApiToken, client: ClientAddress, operation: &str, outcome: &str) {
    let client = login_log::place(client);
    tracing::info!(token = token.name, client, operation, outcome, "operator request");
}

/// Does something to its end, even if the client goes away meanwhile, which drops the future of its request: a change of
/// several transactions must not stop between two of them, nor leave a part of a message behind.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The server's process ends.
        Err(_) => pending().await,
    }
}

fn respond(carried_out: Result<Response, Problem>) -> Result<HttpResponse, Problem> {
    match carried_out? {
        Response::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        response => Ok(Json(response).into_response()),
    }
}
