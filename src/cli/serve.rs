//! `taciturn serve`.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use super::Outcome;
use crate::config::Loaded;
use crate::server;

pub(super) fn run(loaded: Loaded) -> Outcome {
    let filter = EnvFilter::try_from_env("TACITURN_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,hickory_net=off,hickory_resolver=off"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        .init();
    match &loaded.file {
        Some(file) => tracing::info!("configuration: {}", file.display()),
        None => tracing::info!("no configuration file, running on the defaults"),
    }
    tracing::info!("data: {}", loaded.config.data_folder().display());
    if let Some(address) = loaded.config.listen.dns.first() {
        tracing::info!(
            "try: dig @{} -p {} tracking.miui.com",
            address.ip(),
            address.port()
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(server::run(loaded))?;
    Ok(ExitCode::SUCCESS)
}
