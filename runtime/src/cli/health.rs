//! `/healthz` and `/readyz`, for whoever keeps the worker alive and sends it traffic.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::trouble::{Exit, Trouble};
use crate::worker::Health;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many clients are answered at once; the others wait.
const CLIENTS: usize = 64;

/// Begins to listen, so that a taken port ends the program before it claims anything.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Trouble> {
    TcpListener::bind(address).await.map_err(|error| {
        Trouble::new(Exit::Failed, format!("the health endpoint can't listen on {address}: {error}"))
            .help("choose another address with --health-addr or the setting `health_addr`")
    })
}

/// Answers until it is dropped, which also ends what it was answering.
pub(crate) async fn serve(listener: TcpListener, health: Health) -> Infallible {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            // A client that is answered makes room; whoever knocks meanwhile stays in the listener's queue.
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) => {
                    clients.spawn(answer(stream, health.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the health endpoint can't accept a connection");
                    // Out of file descriptors, most likely: asking again at once would only burn a processor.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn answer(stream: TcpStream, health: Health) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &health);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a client of the health endpoint went away");
    }
}

fn respond(method: &Method, path: &str, health: &Health) -> Response<Full<Bytes>> {
    let well = match path {
        "/healthz" => health.is_live(),
        "/readyz" => health.is_ready(),
        _ => return text(StatusCode::NOT_FOUND, "there are /healthz and /readyz\n"),
    };
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&health.report()) {
        Ok(report) => response(status, "application/json", report),
        // The status is what counts.
        Err(error) => text(status, error.to_string()),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
