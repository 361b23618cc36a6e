//! `taciturn config`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Outcome, failure, print};
use crate::config::{EXAMPLE, load};
use crate::server;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say whether a configuration can be used, and if not, what to mend.
    Check {
        /// The file; without it the one that would be used.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a commented example with every key.
    Example,
}

pub(super) fn run(args: &Args, file: Option<&Path>) -> Outcome {
    match &args.command {
        Command::Example => print(EXAMPLE.as_bytes()),
        Command::Check { file: named } => {
            let loaded = load(named.as_deref().or(file))?;
            // What only shows when things are built: certificates that cannot be used.
            server::router(&loaded.config).map_err(failure)?;
            if !loaded.config.tls.self_signed {
                server::certificate(&loaded.config).map_err(failure)?;
            }
            let what = match &loaded.file {
                Some(file) => file.display().to_string(),
                None => "no configuration file, the defaults".to_owned(),
            };
            print(format!("{what}: good\n").as_bytes())
        }
    }
}
