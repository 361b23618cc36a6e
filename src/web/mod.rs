//! The API and the metrics over HTTP. Reads [`record`](crate::record) and [`policy`](crate::policy); what it
//! changes goes through [`server::Shared::request`](crate::server::Shared::request).

mod api;
mod error;
mod guard;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Web;
use crate::listen::ListenError;
use crate::server::Shared;

/// Serves on the addresses of `config` until `stop`.
///
/// # Errors
///
/// The first address that cannot be had.
pub async fn start(
    shared: &Arc<Shared>,
    config: &Web,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ListenError> {
    for address in &config.listen {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|error| ListenError::new(*address, "HTTP", &error))?;
        let app = router(shared.clone(), config);
        let stop = stop.clone();
        tasks.spawn(async move {
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!("HTTP: {error}");
            }
        });
        tracing::info!("API and metrics on http://{address}");
    }
    Ok(())
}

fn router(shared: Arc<Shared>, config: &Web) -> Router {
    let guarded = guard::Guard::new(shared.clone(), &config.hosts);
    Router::new()
        .route("/health", get(api::health))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/counts", get(api::counts))
        .route("/api/v1/log", get(api::log))
        .route("/api/v1/verdict", get(api::verdict))
        .route("/api/v1/lists", get(api::lists))
        .route("/api/v1/lists/update", post(api::update_lists))
        .route("/api/v1/reload", post(api::reload))
        .fallback(error::not_found)
        .layer(from_fn_with_state(guarded, guard::guard))
        .with_state(shared)
}
