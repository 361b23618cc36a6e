//! `taciturn log`: matched lookups.

use std::time::Duration;

use super::{Outcome, print, table};
use crate::config::Loaded;
use crate::record::sqlite::SqliteReader;
use crate::record::{LogQuery, LogRow, Reader};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Go on as lookups come.
    #[arg(long, short)]
    follow: bool,
    /// Start with so many of the latest.
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    lines: u32,
    /// Only of this device.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only of this action: block, record or allow.
    #[arg(long, value_parser = ["block", "record", "allow"])]
    action: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> Outcome {
    let reader = SqliteReader::open(&loaded.config.data_folder())?;
    let mut query = LogQuery {
        after: None,
        device: args.device.clone(),
        action: args.action.clone(),
        limit: args.lines,
    };
    loop {
        let rows = reader.log(&query)?;
        for row in &rows {
            let text = match args.json {
                true => serde_json::to_string(row)? + "\n",
                false => line(row),
            };
            print(text.as_bytes())?;
        }
        if !args.follow {
            return Ok(std::process::ExitCode::SUCCESS);
        }
        query.after = rows.last().map(|row| row.id).or(query.after).or(Some(0));
        query.limit = 1000;
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn line(row: &LogRow) -> String {
    let colour = match row.action.as_str() {
        "block" => anstyle::AnsiColor::Red,
        "record" => anstyle::AnsiColor::Yellow,
        _ => anstyle::AnsiColor::Green,
    };
    let style = colour.on_default();
    let via = match row.via.as_str() {
        "" => String::new(),
        via => format!(" via {via}"),
    };
    let because = match (
        row.vendor.as_str(),
        row.category.as_str(),
        row.list.as_str(),
    ) {
        ("", "", "") => String::new(),
        ("", "", list) => format!("  {list}: {}", row.rule),
        (vendor, category, list) => format!("  {vendor} {category}, {list}: {}", row.rule),
    };
    format!(
        "{}  {style}{:<6}{style:#}  {:<16}  {:<5}  {}{via}{because}\n",
        table::time(row.at),
        row.action,
        row.device,
        row.qtype,
        row.name,
    )
}
