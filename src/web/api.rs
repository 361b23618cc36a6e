//! JSON under `/api/v1`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use crate::lists::ListStatus;
use crate::policy::{Explanation, explain};
use crate::record::sqlite::SqliteReader;
use crate::record::{
    CountQuery, CountRow, Grouping, LogQuery, LogRow, Reader, StoreError, unix_millis,
};
use crate::server::{Request, Shared, lock};
use crate::wire::Name;

type Ctx = State<Arc<Shared>>;
type Params<T> = Result<axum::extract::Query<T>, QueryRejection>;

/// The most rows that one request gets.
const ROW_LIMIT: u32 = 10_000;

fn params<T>(query: Params<T>) -> Result<T, ApiError> {
    match query {
        Ok(axum::extract::Query(params)) => Ok(params),
        Err(rejection) => Err(ApiError::bad(rejection.body_text())),
    }
}

/// Reads from the store on a thread where that may take its time.
async fn read<T: Send + 'static>(
    shared: Arc<Shared>,
    ask: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let reading = tokio::task::spawn_blocking(move || {
        shared.resolver.recorder.flush();
        let reader = SqliteReader::open(&shared.data)?;
        ask(&reader)
    });
    match reading.await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(ApiError(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}

/// `GET /health`: 200 while queries can be answered, 503 with the reason when nothing can be had from any
/// upstream or counts cannot be written.
pub async fn health(State(shared): Ctx) -> Response {
    let mut problems = Vec::new();
    let live = shared.resolver.live();
    let mut servers = live.router.servers().peekable();
    let none_asked = servers.peek().is_none();
    let all_failing = servers.all(|server| {
        let (asked, failed) = (
            server.counts.queries.load(Relaxed),
            server.counts.failures.load(Relaxed),
        );
        asked > 0 && failed == asked
    });
    if !none_asked && all_failing {
        problems.push("no upstream has answered yet".to_owned());
    }
    if let Some(trouble) = shared.writer.trouble() {
        problems.push(format!("counts cannot be written: {trouble}"));
    }
    let code = match problems.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let status = if problems.is_empty() { "ok" } else { "trouble" };
    (
        code,
        Json(json!({ "status": status, "problems": problems })),
    )
        .into_response()
}

/// An upstream, in the status.
#[derive(Serialize)]
struct UpstreamStatus {
    server: String,
    queries: u64,
    failures: u64,
    smoothed_ms: f64,
}

/// `GET /api/v1/status`.
pub async fn status(State(shared): Ctx) -> Json<Value> {
    let live = shared.resolver.live();
    let (answers, bytes) = shared.resolver.cache.size();
    let (rules, rule_bytes) = live.rules.size();
    let totals: serde_json::Map<String, Value> = shared
        .resolver
        .recorder
        .totals()
        .all()
        .into_iter()
        .map(|(name, _, count)| (name.to_owned(), count.into()))
        .collect();
    let upstreams: Vec<_> = live
        .router
        .servers()
        .map(|server| UpstreamStatus {
            server: server.url().to_string(),
            queries: server.counts.queries.load(Relaxed),
            failures: server.counts.failures.load(Relaxed),
            smoothed_ms: server.speed().as_secs_f64() * 1000.0,
        })
        .collect();
    let file = lock(&shared.config).file.clone();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "config": file,
        "config_refused": *lock(&shared.refused),
        "data": shared.data,
        "store_trouble": shared.writer.trouble(),
        "generation": live.generation,
        "rules": { "count": rules, "bytes": rule_bytes },
        "cache": { "answers": answers, "bytes": bytes },
        "devices": live.devices.iter().map(|device| device.name.to_string()).collect::<Vec<_>>(),
        "upstreams": upstreams,
        "totals": totals,
    }))
}

/// Parameters of `GET /api/v1/counts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountParams {
    by: Option<Grouping>,
    since: Option<String>,
    device: Option<String>,
    vendor: Option<String>,
    category: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/counts?by=vendor&since=24h`.
pub async fn counts(
    State(shared): Ctx,
    query: Params<CountParams>,
) -> Result<Json<Vec<CountRow>>, ApiError> {
    let params = params(query)?;
    let since = params.since.as_deref().unwrap_or("24h");
    let period = humantime::parse_duration(since)
        .map_err(|_| ApiError::bad(format!("since={since} is not a time such as 24h or 30d")))?;
    let query = CountQuery {
        by: params.by.unwrap_or(Grouping::Vendor),
        since: unix_millis() / 1000 - period.as_secs() as i64,
        device: params.device,
        vendor: params.vendor,
        category: params.category,
        limit: params.limit.unwrap_or(1000).min(ROW_LIMIT),
    };
    Ok(Json(
        read(shared, move |reader| reader.counts(&query)).await?,
    ))
}

/// Parameters of `GET /api/v1/log`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    after: Option<i64>,
    device: Option<String>,
    action: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/log?limit=100&after=ID`.
pub async fn log(
    State(shared): Ctx,
    query: Params<LogParams>,
) -> Result<Json<Vec<LogRow>>, ApiError> {
    let params = params(query)?;
    let query = LogQuery {
        after: params.after,
        device: params.device,
        action: params.action,
        limit: params.limit.unwrap_or(100).min(ROW_LIMIT),
    };
    Ok(Json(read(shared, move |reader| reader.log(&query)).await?))
}

/// Parameters of `GET /api/v1/verdict`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictParams {
    name: String,
    device: Option<String>,
}

/// `GET /api/v1/verdict?name=tracking.miui.com`.
pub async fn verdict(
    State(shared): Ctx,
    query: Params<VerdictParams>,
) -> Result<Json<Explanation>, ApiError> {
    let params = params(query)?;
    let name = Name::from_text(&params.name)
        .map_err(|error| ApiError::bad(format!("name={} {error}", params.name)))?;
    let live = shared.resolver.live();
    let device = match &params.device {
        None => None,
        Some(text) => Some(live.devices.by_name(text).ok_or_else(|| {
            ApiError(
                StatusCode::NOT_FOUND,
                format!("there is no device called {text}"),
            )
        })?),
    };
    let policy = &live.devices.treatment(device).policy;
    Ok(Json(explain(&live.rules, policy, &name)))
}

/// `GET /api/v1/lists`.
pub async fn lists(State(shared): Ctx) -> Json<Vec<ListStatus>> {
    Json(lock(&shared.lists).clone())
}

/// `POST /api/v1/lists/update`: asks for news of all URL lists now.
pub async fn update_lists(State(shared): Ctx) -> StatusCode {
    shared.request(Request::UpdateLists);
    StatusCode::ACCEPTED
}

/// `POST /api/v1/reload`: reads the configuration and the lists again.
pub async fn reload(State(shared): Ctx) -> StatusCode {
    shared.request(Request::Reload);
    StatusCode::ACCEPTED
}
