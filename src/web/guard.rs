//! Keeping strangers out, and web pages of others from reading or changing anything by way of the owner's
//! browser.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::server::Shared;

/// The header that a request which changes something has to carry. A page of another site cannot add one
/// without being asked for permission first, which is not given.
const CHANGE_HEADER: &str = "x-taciturn";

/// What a request is held against.
#[derive(Clone)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    hosts: Arc<Hosts>,
}

impl Guard {
    pub fn new(shared: Arc<Shared>, hosts: &[String]) -> Self {
        Self {
            shared,
            hosts: Arc::new(Hosts::new(hosts)),
        }
    }
}

/// Host names by which the server may be called.
struct Hosts(Vec<String>);

impl Hosts {
    fn new(configured: &[String]) -> Self {
        Self(configured.iter().map(|host| host.to_lowercase()).collect())
    }

    /// Whether a Host header names this server. Any other name may be a stranger's that was pointed here
    /// (DNS rebinding); addresses cannot be.
    fn know(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        if host.parse::<SocketAddr>().is_ok() {
            return true;
        }
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
            _ => &host,
        };
        let inner = bare.trim_start_matches('[').trim_end_matches(']');
        inner.parse::<IpAddr>().is_ok()
            || bare == "localhost"
            || self.0.iter().any(|known| known == bare)
    }
}

/// Lets through who may ask for names as well, calls the server by a known name and, to change something,
/// adds the header.
pub(super) async fn guard(
    State(guard): State<Guard>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST);
    if !guard.shared.resolver.live().may_visit(client.ip()) {
        let message = "your address is not in [access] allow";
        return ApiError(StatusCode::FORBIDDEN, message.to_owned()).into_response();
    }
    let known = host.is_some_and(|host| host.to_str().is_ok_and(|host| guard.hosts.know(host)));
    if !known {
        let message = "this server does not go by that name; add it to [web] hosts";
        return ApiError(StatusCode::MISDIRECTED_REQUEST, message.to_owned()).into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !request.headers().contains_key(CHANGE_HEADER) {
        let message =
            format!("a request that changes something has to carry the header {CHANGE_HEADER}");
        return ApiError(StatusCode::FORBIDDEN, message).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names() {
        let hosts = Hosts::new(&["Dns.Example.org".to_owned()]);
        for host in [
            "127.0.0.1:5380",
            "[::1]:5380",
            "[::1]",
            "localhost:5380",
            "dns.example.org",
            "10.0.0.1",
        ] {
            assert!(hosts.know(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:5380",
            "",
        ] {
            assert!(!hosts.know(host), "{host}");
        }
    }
}
