//! Renewing URL lists on a schedule.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::{Request, Shared, http_client, lock};
use crate::lists::download::{Limits, Refreshed, refresh};
use crate::lists::{CacheFolder, ListSpec, Source};
use crate::record::unix_millis;

/// How long to wait after a first failure; doubled with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// The most that a wait is doubled to.
const RETRY_MOST: Duration = Duration::from_secs(3600);
/// Nothing is looked at more often.
const TICK: Duration = Duration::from_secs(30);

/// Keeps URL lists current until `stop`.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut failures: HashMap<String, (u32, i64)> = HashMap::new();
    let mut forced = false;
    loop {
        let changed = round(&shared, &mut failures, forced).await;
        if changed {
            shared.request(Request::Reassemble);
        }
        forced = tokio::select! {
            () = stop.cancelled() => return,
            () = shared.refresh_now.notified() => true,
            () = tokio::time::sleep(TICK) => false,
        };
    }
}

/// Asks for news of each list whose time has come. Returns whether any list has a new copy.
async fn round(shared: &Shared, failures: &mut HashMap<String, (u32, i64)>, forced: bool) -> bool {
    let config = shared.config().config;
    let specs = config.list_specs();
    let folder = CacheFolder::new(&shared.data);
    let now = unix_millis() / 1000;
    let due: Vec<_> = specs
        .iter()
        .filter(|spec| matches!(spec.source, Source::Url(_)))
        .filter(|spec| forced || is_due(spec, &folder, failures, config.lists.refresh.0, now))
        .collect();
    if due.is_empty() {
        return false;
    }
    let client = match http_client(&config) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!("lists cannot be downloaded: {error}");
            return false;
        }
    };
    let limits = Limits {
        size: config.lists.max_size.0,
        time: config.lists.timeout.0,
    };
    let mut changed = false;
    for spec in due {
        let outcome = refresh(&client, spec, &folder, limits, |_, _| {}).await;
        match &outcome {
            Ok(Refreshed::New(rules)) => {
                changed = true;
                tracing::info!("list `{}` was renewed: {rules} rules", spec.name);
            }
            Ok(Refreshed::Unchanged) => tracing::debug!("list `{}` is current", spec.name),
            Err(error) => tracing::warn!("list `{}` was not renewed: {error}", spec.name),
        }
        note(shared, spec, outcome.as_ref().err(), &folder);
        if outcome.is_ok() {
            failures.remove(&spec.name);
        } else {
            let times = failures.get(&spec.name).map_or(0, |(times, _)| times + 1);
            failures.insert(spec.name.clone(), (times, now + wait(times)));
        }
    }
    changed
}

fn is_due(
    spec: &ListSpec,
    folder: &CacheFolder,
    failures: &HashMap<String, (u32, i64)>,
    every: Duration,
    now: i64,
) -> bool {
    if let Some((_, next)) = failures.get(&spec.name) {
        return now >= *next;
    }
    match folder.info(&spec.source) {
        Some(info) => now - info.checked >= every.as_secs() as i64,
        None => true,
    }
}

/// Seconds to wait after so many failures, with jitter, so that many servers do not come back together.
fn wait(times: u32) -> i64 {
    let wait = RETRY_FIRST
        .saturating_mul(1 << times.min(6))
        .min(RETRY_MOST);
    let jitter = rand::rng().random_range(0.8..1.2);
    wait.mul_f64(jitter).as_secs() as i64
}

/// Puts the outcome into the list's status.
fn note(shared: &Shared, spec: &ListSpec, error: Option<&String>, folder: &CacheFolder) {
    let mut lists = lock(&shared.lists);
    if let Some(status) = lists.iter_mut().find(|status| status.name == spec.name) {
        let copy = folder.info(&spec.source);
        status.error = error.map(|error| match &copy {
            Some(_) => format!("{error}; its last good copy is used"),
            None => error.clone(),
        });
        if let Some(info) = copy {
            status.checked = Some(info.checked);
        }
    }
    if let Err(error) = folder.write_status(&lists) {
        tracing::debug!("the status of the lists cannot be written: {error}");
    }
}
