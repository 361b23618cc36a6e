//! Watching the configuration and the files of lists.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{Request, Shared, lock};
use crate::config::registry;

/// Editors write in several steps; only after a moment of rest is a file read.
const REST: Duration = Duration::from_millis(300);

/// Watches the folders that the files lie in, because editors replace a file rather than change it.
/// Returns what has to be kept for the watch to go on; `None` when there is nothing to watch.
pub(super) fn start(shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
    let (changes, mut changed) = tokio::sync::mpsc::channel::<()>(1);
    let watched = shared.clone();
    let outcome = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else {
            return;
        };
        if event.kind.is_access() {
            return;
        }
        // Most of what changes in the data folder is the database.
        let is_database = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| name.starts_with("taciturn.sqlite"))
        };
        if event.paths.iter().all(is_database) {
            return;
        }
        let files = files(&watched);
        if event.paths.iter().any(|path| files.contains(path)) {
            let _ = changes.try_send(());
        }
    });
    let mut watcher = match outcome {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!("files cannot be watched, SIGHUP still reloads: {error}");
            return None;
        }
    };
    let folders: HashSet<PathBuf> = files(shared)
        .iter()
        .filter_map(|file| file.parent().map(Path::to_owned))
        .collect();
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(
                "{} cannot be watched, SIGHUP still reloads: {error}",
                folder.display()
            );
        }
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        while changed.recv().await.is_some() {
            tokio::time::sleep(REST).await;
            while changed.try_recv().is_ok() {}
            shared.request(Request::Reload);
        }
    });
    Some(watcher)
}

/// The files that matter now: the configuration, the registry of devices, the certificate, the lists.
fn files(shared: &Shared) -> HashSet<PathBuf> {
    let loaded = lock(&shared.config);
    let config = &loaded.config;
    let registry = registry::file(&shared.data);
    let lists = config
        .list
        .iter()
        .filter_map(|list| list.get_ref().file.as_deref());
    lists
        .chain(loaded.file.as_deref())
        .chain(config.tls.certificate.as_deref())
        .chain(config.tls.key.as_deref())
        .chain([registry.as_path()])
        .filter_map(absolute)
        .collect()
}

/// The path as the system's notices spell it.
fn absolute(path: &Path) -> Option<PathBuf> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}
