//! Following the history over HTTP: a response that goes on until its reader leaves.

use super::{Caller, TokenCaller, fields, log, problem::Problem};
use crate::admin::{
    Admin,
    looking::{self, FollowRequest},
};
use axum::{
    Extension,
    extract::{Request as HttpRequest, State},
    http::StatusCode,
    response::Response as HttpResponse,
};
use serde_json::Value;

/// Serves the events that are written from now on. Of a program with a token the middleware has found that it may see the
/// whole server.
pub(super) async fn follow(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let fields = fields(request, &caller).await?;
    let request: FollowRequest =
        serde_json::from_value(Value::Object(fields)).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-request", error.to_string())
        })?;
    let token = match caller {
        Caller::Operator => None,
        Caller::Token(TokenCaller { token, client }) => {
            log(&token, client, "follow", "done");
            Some(token)
        }
    };
    looking::follow(&admin, request, token).ok_or_else(|| {
        let detail = "no server runs here, or it is stopping";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-server", detail)
    })
}
