//! `taciturn lists`: status, update, export.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, failure, print, table};
use crate::config::{Config, Loaded};
use crate::lists::download::{Limits, Refreshed, refresh};
use crate::lists::export::{ExportFormat, export};
use crate::lists::{CacheFolder, ListStatus, Source};
use crate::policy::Action;
use crate::server;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Show the lines that cannot be used.
    #[arg(long)]
    junk: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Download URL lists now; a running server takes them up.
    Update,
    /// Write the catalogue for another resolver.
    Export {
        /// The format.
        #[arg(long, value_enum)]
        format: Format,
        /// Names that are treated this way.
        #[arg(long, value_enum, default_value = "block")]
        action: Wanted,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Domains,
    Hosts,
    Adblock,
    Rpz,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    Block,
    Record,
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> Outcome {
    match &args.command {
        None => show(args, &loaded.config),
        Some(Command::Update) => update(&loaded.config),
        Some(Command::Export { format, action }) => {
            let assembled = loaded.config.assemble().map_err(failure)?;
            let devices = server::devices(&loaded.config);
            let format = match format {
                Format::Domains => ExportFormat::Domains,
                Format::Hosts => ExportFormat::Hosts,
                Format::Adblock => ExportFormat::Adblock,
                Format::Rpz => ExportFormat::Rpz,
            };
            let action = match action {
                Wanted::Block => Action::Block,
                Wanted::Record => Action::Record,
            };
            let policy = &devices.treatment(None).policy;
            print(export(assembled.rules.entries(), policy, action, format).as_bytes())
        }
    }
}

fn show(args: &Args, config: &Config) -> Outcome {
    let assembled = config.assemble().map_err(failure)?;
    let lists = with_news(assembled.lists, config);
    if args.json {
        let text = serde_json::to_string_pretty(&lists)?;
        return print(format!("{text}\n").as_bytes());
    }
    let mut table = table::new(&[
        "list",
        "format",
        "does",
        "#rules",
        "#doubles",
        "#junk",
        "refreshed",
        "source",
    ]);
    for list in &lists {
        table.add_row([
            list.name.clone(),
            list.report.format.clone(),
            list.action
                .map_or("by entry".to_owned(), |action| action.to_string()),
            list.report.rules.to_string(),
            list.report.duplicates.to_string(),
            list.report.junk.to_string(),
            list.checked
                .map_or("-".to_owned(), |at| table::time(at * 1000)),
            list.source.clone(),
        ]);
    }
    let mut text = String::from_utf8(table::bytes(&table)).unwrap_or_default();
    for list in &lists {
        if let Some(error) = &list.error {
            let _ = writeln!(text, "{}: {error}", list.name);
        }
        if args.junk {
            for junk in &list.report.junk_lines {
                let _ = writeln!(
                    text,
                    "{}:{}: {} ({})",
                    list.name, junk.line, junk.text, junk.why
                );
            }
        }
    }
    print(text.as_bytes())
}

/// What the running server, or the last one, has to say about downloads that failed.
fn with_news(mut lists: Vec<ListStatus>, config: &Config) -> Vec<ListStatus> {
    let known = CacheFolder::new(&config.data_folder()).read_status();
    for list in &mut lists {
        let news = known
            .iter()
            .find(|old| old.name == list.name && old.source == list.source);
        if let (None, Some(news)) = (&list.error, news)
            && list.checked.is_some()
        {
            list.error.clone_from(&news.error);
        }
    }
    lists
}

fn update(config: &Config) -> Outcome {
    let specs = config.list_specs();
    let folder = CacheFolder::new(&config.data_folder());
    let limits = Limits {
        size: config.lists.max_size.0,
        time: config.lists.timeout.0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut failed = false;
    for spec in specs
        .iter()
        .filter(|spec| matches!(spec.source, Source::Url(_)))
    {
        let bar = progress_bar(&spec.name);
        let outcome = runtime.block_on(async {
            let client = server::http_client(config)?;
            refresh(&client, spec, &folder, limits, |done, total| {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(done);
            })
            .await
        });
        bar.finish_and_clear();
        let line = match outcome {
            Ok(Refreshed::New(rules)) => format!("{}: new, {rules} rules\n", spec.name),
            Ok(Refreshed::Unchanged) => format!("{}: unchanged\n", spec.name),
            Err(error) => {
                failed = true;
                format!("{}: not renewed: {error}\n", spec.name)
            }
        };
        print(line.as_bytes())?;
    }
    if runtime.block_on(tell_server(config)) {
        print(b"the running server takes them up\n")?;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A bar on the terminal, and none elsewhere, for downloads that take longer than a moment.
fn progress_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes} of {total_bytes}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}

/// Asks a server that runs with this configuration to read the lists again. Returns whether there is one.
async fn tell_server(config: &Config) -> bool {
    let Some(address) = config.web.listen.first() else {
        return false;
    };
    let Ok(client) = server::http_client(config) else {
        return false;
    };
    let request = client
        .post(format!("http://{address}/api/v1/reload"))
        .header("x-taciturn", "lists update")
        .timeout(Duration::from_secs(3));
    let answer = request.send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
