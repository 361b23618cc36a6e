//! The command line: one file per command. Tables and progress bars live here only.

mod check;
mod config;
mod device;
mod lists;
mod log;
mod serve;
mod stats;
mod table;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Loaded, load};

/// A DNS resolver that stops phones from talking to their makers, and shows what they tried to say.
#[derive(Parser)]
#[command(name = "taciturn", version, max_term_width = 100)]
struct Cli {
    /// The configuration; without it ./taciturn.toml, ~/.config/taciturn/taciturn.toml or
    /// /etc/taciturn/taciturn.toml, and without any of these the defaults.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "TACITURN_CONFIG"
    )]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the resolver (what happens without a command).
    Serve,
    /// Say what is done with names, and why.
    Check(check::Args),
    /// Register phones and computers, and show what to enter on them.
    Device(device::Args),
    /// Show counts of blocked and recorded lookups.
    Stats(stats::Args),
    /// Show the log of matched lookups.
    Log(log::Args),
    /// Show the lists and how they fared; update or export them.
    Lists(lists::Args),
    /// Check a configuration, or print a commented example.
    Config(config::Args),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one per command into a folder.
    Man {
        /// The folder; without it the main page goes to standard output.
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// What a command can fail with: a sentence for people, or a pipe that nobody reads any more.
type Outcome = Result<ExitCode, Failure>;

enum Failure {
    Message(String),
    ClosedPipe,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if text.contains("Broken pipe") {
                return Self::ClosedPipe;
            }
            source = cause.source();
        }
        Self::Message(error.to_string())
    }
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::Message(message.into())
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(Failure::Message(message)) => {
            let mut stderr = anstream::stderr();
            let red = anstyle::AnsiColor::Red.on_default().bold();
            let _ = writeln!(stderr, "{red}error:{red:#} {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let loaded = || -> Result<Loaded, Failure> { Ok(load(cli.config.as_deref())?) };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(loaded()?),
        Command::Check(args) => check::run(&args, &loaded()?),
        Command::Device(args) => device::run(&args, &loaded()?),
        Command::Stats(args) => stats::run(&args, &loaded()?),
        Command::Log(args) => log::run(&args, &loaded()?),
        Command::Lists(args) => lists::run(&args, &loaded()?),
        Command::Config(args) => config::run(&args, cli.config.as_deref()),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "taciturn", &mut out);
            print(&out)
        }
        Command::Man { folder: None } => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut out)?;
            print(&out)
        }
        Command::Man {
            folder: Some(folder),
        } => {
            std::fs::create_dir_all(&folder)?;
            clap_mangen::generate_to(Cli::command(), &folder)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes to standard output; a reader that has gone is no error.
fn print(bytes: &[u8]) -> Outcome {
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
