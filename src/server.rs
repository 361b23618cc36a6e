//! The running server: everything put together from a configuration, and changed while it runs.

mod build;
mod refresh;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use build::{certificate, devices, http_client, live, router};

use crate::certificate::Current;
use crate::config::{self, Config, ConfigError, Loaded};
use crate::listen::{ListenError, Listeners};
use crate::lists::{Assembled, CacheFolder, ListStatus};
use crate::policy::RuleSet;
use crate::record::{Keep, Names, Recorder, WriterHandle};
use crate::resolve::{Live, Resolver};
use crate::upstream::Router;
use crate::web;

/// How long answers under way may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// The longest sleep before a pause's end is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Something else that a sentence says.
    #[error("{0}")]
    Other(String),
}

impl From<String> for ServerError {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

/// What can be asked of a running server from within it: by signals, the watch on files, the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read the configuration and files of lists again.
    Reload,
    /// Ask for news of the URL lists now.
    UpdateLists,
    /// A list's copy on disk changed: compile the lists again.
    Reassemble,
}

/// What the API and the tasks of the server share.
pub struct Shared {
    /// The resolver.
    pub resolver: Arc<Resolver>,
    /// What encrypted listeners prove their name with.
    pub certificate: Arc<Current>,
    /// How the lists fared.
    pub lists: Mutex<Vec<ListStatus>>,
    /// The configuration that runs.
    pub config: Mutex<Loaded>,
    /// Why the last change of the configuration was refused, if it was.
    pub refused: Mutex<Option<String>>,
    /// When the server started.
    pub started: Instant,
    /// The data folder.
    pub data: PathBuf,
    /// The thread that writes counts and log.
    pub writer: WriterHandle,
    requests: mpsc::Sender<Request>,
    generation: AtomicU32,
    refresh_now: Notify,
}

impl Shared {
    /// Asks for something to be done soon; the same thing asked again meanwhile is done once or twice.
    pub fn request(&self, request: Request) {
        let _ = self.requests.try_send(request);
    }

    /// Waits until the first pause of a device is over.
    async fn pause_ends(&self) {
        let now = jiff::Timestamp::now();
        let config = self.config().config;
        let pauses = config.device.iter();
        let pauses = pauses.filter_map(|device| device.get_ref().paused_until);
        let left = pauses
            .filter(|until| *until > now)
            .min()
            .map(|until| now.duration_until(until));
        match left.map(Duration::try_from) {
            // The clock may be set meanwhile, so that it is looked at again before long.
            Some(Ok(left)) => tokio::time::sleep(left.min(LONGEST_SLEEP)).await,
            _ => std::future::pending().await,
        }
    }

    fn config(&self) -> Loaded {
        lock(&self.config).clone()
    }
}

/// A mutex's value, even if a thread panicked while it held it: the values here are replaced as a whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
///
/// When it cannot start: the message says what to mend.
pub async fn run(loaded: Loaded) -> Result<(), ServerError> {
    raise_file_limit();
    let config = &loaded.config;
    let data = config.data_folder();
    let assembled = assemble(config.clone()).await?;
    let keep = keep(config);
    let (recorder, writer) = Recorder::start(&data, config.record.queue, keep);
    let Assembled { rules, lists } = assembled;
    let live = live(config, Arc::new(rules), router(config)?, 1);
    recorder.publish(names(&live), keep);
    let resolver = Arc::new(Resolver::new(live, config.cache.size.0, recorder));
    let (requests, mut asked) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let certificate = Arc::new(Current::default());
    if let Some(loaded) = build::certificate(config)? {
        certificate.set(&loaded);
    }
    let mut listeners = Listeners::new(
        resolver.clone(),
        certificate.clone(),
        tasks.clone(),
        stop.clone(),
    );
    listeners.apply(&config.listen)?;
    let shared = Arc::new(Shared {
        resolver: resolver.clone(),
        certificate,
        lists: Mutex::new(lists),
        config: Mutex::new(loaded.clone()),
        refused: Mutex::new(None),
        started: Instant::now(),
        data,
        writer,
        requests,
        generation: AtomicU32::new(1),
        refresh_now: Notify::new(),
    });
    shared.leave_word();
    web::start(&shared, &config.web, &tasks, &stop).await?;
    tasks.spawn(refresh::run(shared.clone(), stop.clone()));
    let _watcher = watch::start(&shared);
    tracing::info!("ready");
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let mut hangup = listen_for(SignalKind::hangup())?;
    loop {
        let request = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => Request::Reload,
            Some(request) = asked.recv() => request,
            () = shared.pause_ends() => Request::Reload,
        };
        match request {
            Request::Reload => shared.reload(&mut listeners).await,
            Request::Reassemble => shared.reassemble().await,
            Request::UpdateLists => shared.refresh_now.notify_one(),
        }
    }
    tracing::info!("stopping");
    stop.cancel();
    tasks.close();
    let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
    resolver.drain(DRAIN).await;
    drop(listeners);
    shared.writer.stop();
    Ok(())
}

/// Every connection takes a file descriptor: asks the system for as many as it grants.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays: {error}");
    }
}

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal, ServerError> {
    signal(kind).map_err(|error| ServerError::Other(format!("signals cannot be caught: {error}")))
}

/// Reads and compiles the lists on a thread where that may take its time.
async fn assemble(config: Config) -> Result<Assembled, String> {
    let assembling = tokio::task::spawn_blocking(move || config.assemble());
    assembling.await.map_err(|error| error.to_string())?
}

fn keep(config: &Config) -> Keep {
    Keep {
        log: config.record.log,
        log_for: config.record.log_retention.0,
        counts_for: config.record.count_retention.0,
    }
}

fn names(live: &Live) -> Names {
    Names {
        generation: live.generation,
        rules: live.rules.clone(),
        devices: live.devices.clone(),
    }
}

impl Shared {
    /// Reads the configuration again and puts it in place, or says why not and keeps what runs.
    async fn reload(&self, listeners: &mut Listeners) {
        let file = self.config().file;
        let outcome = match config::load(file.as_deref()) {
            Ok(loaded) => self.put_in_place(loaded, listeners).await,
            Err(error) => Err(error.into()),
        };
        match &outcome {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!("the running configuration is kept: {error}"),
        }
        *lock(&self.refused) = outcome.err().map(|error| error.to_string());
    }

    async fn put_in_place(
        &self,
        loaded: Loaded,
        listeners: &mut Listeners,
    ) -> Result<(), ServerError> {
        let before = self.config().config;
        let config = &loaded.config;
        if config.web != before.web || config.data_folder() != self.data {
            return Err(ServerError::Other(
                "[web] and data can only be changed by a restart".to_owned(),
            ));
        }
        let assembled = assemble(config.clone()).await?;
        let upstreams_changed = format!("{:?}{:?}", config.upstream, config.forward)
            != format!("{:?}{:?}", before.upstream, before.forward);
        let router = match upstreams_changed {
            true => router(config)?,
            // Connections, and what was learnt about the servers, are kept.
            false => self.resolver.live().router.clone(),
        };
        let certificate = build::certificate(config)?;
        let live = self.next(config, assembled.rules, router);
        if let Some(certificate) = &certificate {
            self.certificate.set(certificate);
        }
        listeners.apply(&config.listen)?;
        if config.cache != before.cache {
            self.resolver.cache.resize(config.cache.size.0);
        }
        self.publish(live, config);
        if upstreams_changed {
            // What other servers said may not be what these would say.
            self.resolver.cache.clear();
        }
        *lock(&self.lists) = assembled.lists;
        *lock(&self.config) = loaded;
        self.leave_word();
        self.refresh_now.notify_one();
        Ok(())
    }

    /// Compiles the lists again, after a download.
    async fn reassemble(&self) {
        let config = self.config().config;
        match assemble(config.clone()).await {
            Ok(assembled) => {
                let router = self.resolver.live().router.clone();
                self.publish(self.next(&config, assembled.rules, router), &config);
                *lock(&self.lists) = assembled.lists;
                self.leave_word();
            }
            Err(error) => tracing::error!("the running lists are kept: {error}"),
        }
    }

    fn next(&self, config: &Config, rules: RuleSet, router: Arc<Router>) -> Live {
        let generation = self.generation.fetch_add(1, Relaxed) + 1;
        live(config, Arc::new(rules), router, generation)
    }

    fn publish(&self, live: Live, config: &Config) {
        let recorder = &self.resolver.recorder;
        recorder.publish(names(&live), keep(config));
        self.resolver.replace(live);
    }

    /// Leaves word of how the lists fared, for `taciturn lists`.
    fn leave_word(&self) {
        let lists = lock(&self.lists);
        for list in lists.iter() {
            if let Some(error) = &list.error {
                tracing::warn!("list `{}` ({}): {error}", list.name, list.source);
            }
        }
        if let Err(error) = CacheFolder::new(&self.data).write_status(&lists) {
            tracing::warn!("the status of the lists cannot be written: {error}");
        }
    }
}
