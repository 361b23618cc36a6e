//! Watching the configuration and the files of lists.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{Request, Shared, lock};

/// Editors write in several steps; only after a moment of rest is a file read.
const REST: Duration = Duration::from_millis(300);

/// Watches the folders that the files lie in, because editors replace a file rather than change it.
/// Returns what has to be kept for the watch to go on; `None` when there is nothing to watch.
pub(super) fn start(shared: &Arc<Shared>) -> Option<RecommendedWatcher> {
    let loaded = shared.config();
    let config_file = loaded.file.as_deref().and_then(absolute)?;
    let folder = config_file.parent()?.to_owned();
    let (changes, mut changed) = tokio::sync::mpsc::channel::<()>(1);
    let watched = shared.clone();
    let outcome = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else {
            return;
        };
        if event.kind.is_access() {
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
    let lists = loaded
        .config
        .list
        .iter()
        .filter_map(|list| list.get_ref().file.clone());
    let mut folders: HashSet<PathBuf> = lists
        .filter_map(|file| absolute(&file)?.parent().map(Path::to_owned))
        .collect();
    folders.insert(folder);
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

/// The files that matter now: the configuration, and the lists it names.
fn files(shared: &Shared) -> HashSet<PathBuf> {
    let loaded = lock(&shared.config);
    let lists = loaded
        .config
        .list
        .iter()
        .filter_map(|list| list.get_ref().file.as_deref());
    lists
        .chain(loaded.file.as_deref())
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
