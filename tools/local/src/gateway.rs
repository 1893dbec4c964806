//! The front door: an HTTP API of API Gateway.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use shared::http::host;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;
use uuid::Uuid;

use crate::cors;
use crate::environments::InvokeError;
use crate::events::{self, Origin};
use crate::jwt::{Authorizer, Claims, Denied};
use crate::serve;
use crate::status::Status;

/// The maximum size of a request's body, in bytes:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The maximum size of the request line and the headers together, in bytes.
const HEAD_BYTES_MAX: usize = 10_240;
/// The time in which a request's body must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum number of simultaneous connections.
const CONNECTIONS_MAX: usize = 1024;
/// The path of the status page. No API has this path.
const STATUS_PATH: &str = "/_local/status";
/// The path to which a client sends a new deployment. No API has this path.
const DEPLOYMENT_PATH: &str = "/_local/deployment";

/// The front door.
#[derive(Debug)]
pub struct Gateway {
    /// The source of the status page, with the deployed routes.
    pub status: Status,
    /// The part that verifies tokens.
    pub authorizer: Authorizer,
    /// The port of the gateway.
    pub port: u16,
}

/// Serves until `stop`, then finishes the requests under way. `cors` answers preflights, so no function sees them.
pub async fn serve(listener: TcpListener, gateway: Arc<Gateway>, cors: Option<CorsLayer>, stop: CancellationToken) {
    let cors = option_layer(cors);
    serve::serve(listener, CONNECTIONS_MAX, stop, move |peer, request| {
        let gateway = Arc::clone(&gateway);
        let inner = service_fn(move |request| {
            let gateway = Arc::clone(&gateway);
            async move { Ok(gateway.answer(peer, request).await) }
        });
        let (service, is_preflight) = (cors.layer(inner), cors::is_preflight(&request));
        async move {
            let result: Result<_, Infallible> = service.oneshot(request).await;
            let mut response = result.unwrap_or_else(|never| match never {});
            // An HTTP API answers a preflight with another status than this layer.
            if is_preflight && response.status() == StatusCode::OK {
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            response
        }
    })
    .await;
}

impl Gateway {
    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == STATUS_PATH {
            return json(StatusCode::OK, self.status.document().await.into());
        }
        if request.uri().path() == DEPLOYMENT_PATH && request.method() == Method::PUT {
            return self.deploy(request).await.unwrap_or_else(|refusal| refusal);
        }
        let request_id = Uuid::now_v7().to_string();
        let mut response = match self.forward(peer, request, &request_id).await {
            Ok(response) | Err(response) => response,
        };
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert("apigw-requestid", request_id);
        }
        response
    }

    async fn deploy(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        let body = collect(request.into_body()).await?;
        match self.status.deployments.deploy(&body).await {
            Ok(()) => Ok(json(StatusCode::OK, self.status.document().await.into())),
            Err(error) => {
                let document = serde_json::json!({ "message": error.to_string() });
                Err(json(StatusCode::BAD_REQUEST, document.to_string().into()))
            }
        }
    }

    /// Passes a request to its function. An error is an answer of the gateway itself.
    async fn forward(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        if !host::is_named(head.version, &head.headers) {
            return Err(message(StatusCode::BAD_REQUEST, "Bad Request"));
        }
        if head_bytes(&head) > HEAD_BYTES_MAX {
            return Err(message(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large"));
        }
        let claims = self.authorize(&head).map_err(|denied| denial(&denied))?;
        let body = collect(body).await?;
        loop {
            // The routes may have changed since the request arrived.
            let routes = self.status.deployments.routes();
            let route = routes.find(&head.method, head.uri.path());
            let origin = Origin {
                route_key: route.key,
                path_parameters: &route.path_parameters,
                authorization: claims.as_ref().map(|claims| (claims, route.scopes)),
                source_ip: peer.ip(),
                port: self.port,
                request_id,
            };
            let broken = |_| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
            let event = events::event(&head, &body, &origin).map_err(broken)?;
            let response = match route.target.invoke(event).await {
                Err(InvokeError::Retired) => continue,
                result => result.map_err(|error| refusal(&error))?,
            };
            return events::response(&response).map_err(|error| {
                eprintln!("{} | {error}", route.target.name());
                message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            });
        }
    }

    /// Authorizes a request. Routes without scopes need no token. A route has the same scopes in all deployments.
    fn authorize(&self, head: &Parts) -> Result<Option<Claims>, Denied> {
        let routes = self.status.deployments.routes();
        match routes.find(&head.method, head.uri.path()).scopes {
            [] => Ok(None),
            scopes => self.authorizer.authorize(head.headers.get(AUTHORIZATION), scopes).map(Some),
        }
    }
}

/// Returns the size of the request line and the headers, in bytes, about as on the wire.
fn head_bytes(head: &Parts) -> usize {
    let line = head.method.as_str().len() + head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    line + head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

async fn collect(mut body: Incoming) -> Result<Bytes, Response<Full<Bytes>>> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, async {
        let collected = Limited::new(&mut body, BODY_BYTES_MAX).collect().await;
        if collected.is_err() {
            discard(&mut body).await;
        }
        collected
    });
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"))
        }
        Ok(Err(_)) => Err(message(StatusCode::BAD_REQUEST, "Bad Request")),
        Err(_) => Err(message(StatusCode::REQUEST_TIMEOUT, "Request Timeout")),
    }
}

/// Reads the rest of the body for a while. A client that is still sending would miss the answer if the connection closed.
async fn discard(body: &mut Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > BODY_BYTES_MAX {
            return;
        }
    }
}

/// Returns the answer of API Gateway if the function does not answer.
fn refusal(error: &InvokeError) -> Response<Full<Bytes>> {
    match error {
        InvokeError::Throttled => message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
        InvokeError::EventTooLarge => message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
        InvokeError::Retired | InvokeError::ShuttingDown => {
            message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        InvokeError::TimedOut | InvokeError::Died | InvokeError::Failed | InvokeError::NotStarting => {
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn denial(denied: &Denied) -> Response<Full<Bytes>> {
    let (status, text, challenge) = match denied {
        Denied::Unauthorized(None) => (StatusCode::UNAUTHORIZED, "Unauthorized", "Bearer".to_owned()),
        Denied::Unauthorized(Some(reason)) => {
            let challenge = format!(r#"Bearer scope="" error="invalid_token" error_description="{reason}""#);
            (StatusCode::UNAUTHORIZED, "Unauthorized", challenge)
        }
        Denied::Forbidden(scopes) => {
            let challenge = format!(r#"Bearer scope="{}" error="insufficient_scope""#, scopes.join(" "));
            (StatusCode::FORBIDDEN, "Forbidden", challenge)
        }
    };
    let mut response = message(status, text);
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn message(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json(status, format!(r#"{{"message":"{text}"}}"#).into())
}

fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
