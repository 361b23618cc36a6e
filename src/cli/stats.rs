//! `taciturn stats`: counts.

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Failure, Outcome, print, table};
use crate::config::Loaded;
use crate::record::sqlite::SqliteReader;
use crate::record::{CountQuery, CountRow, Grouping, Reader, unix_millis};

/// Reads a grouping by its name.
fn grouping() -> impl TypedValueParser<Value = Grouping> {
    let names = Grouping::ALL.map(Grouping::as_str);
    PossibleValuesParser::new(names).map(|name| {
        let found = Grouping::ALL.into_iter().find(|by| by.as_str() == name);
        found.unwrap_or(Grouping::Vendor)
    })
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// How far back, such as 24h or 30d; counts are kept by the hour.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = humantime::parse_duration)]
    since: std::time::Duration,
    /// What counts are summed by.
    #[arg(long, default_value = "vendor", value_parser = grouping())]
    by: Grouping,
    /// Only of this device.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only of this vendor.
    #[arg(long, value_name = "NAME")]
    vendor: Option<String>,
    /// Only of this category, such as unclassified.
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// At most so many rows.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// As JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV.
    #[arg(long)]
    csv: bool,
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> Outcome {
    let reader = SqliteReader::open(&loaded.config.data_folder())?;
    let mut rows = reader.counts(&CountQuery {
        by: args.by,
        since: unix_millis() / 1000 - args.since.as_secs() as i64,
        device: args.device.clone(),
        vendor: args.vendor.clone(),
        category: args.category.clone(),
        limit: args.limit,
    })?;
    if args.by == Grouping::Hour && !args.json {
        for row in &mut rows {
            row.key = row
                .key
                .parse()
                .map_or_else(|_| row.key.clone(), |s: i64| hour(s));
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&rows)?;
        return print(format!("{text}\n").as_bytes());
    }
    if args.csv {
        return csv(args.by, &rows);
    }
    if rows.is_empty() {
        return print(b"nothing was counted in that time\n");
    }
    let mut table = table::new(&[args.by.as_str(), "#blocked", "#recorded", "#let through"]);
    for row in &rows {
        let key = match row.key.as_str() {
            "" => "(none)",
            key => key,
        };
        table.add_row([
            key.to_owned(),
            row.blocked.to_string(),
            row.recorded.to_string(),
            row.allowed.to_string(),
        ]);
    }
    print(&table::bytes(&table))
}

fn hour(seconds: i64) -> String {
    let time = table::time(seconds * 1000);
    time[..time.len().min(16)].to_owned()
}

fn csv(by: Grouping, rows: &[CountRow]) -> Outcome {
    let mut text = format!("{},blocked,recorded,allowed\n", by.as_str());
    for row in rows {
        let key = &row.key;
        // A leading =, +, - or @ would be a formula to a spreadsheet.
        let key = match key.chars().next() {
            Some('=' | '+' | '-' | '@') => format!("'{key}"),
            _ => key.clone(),
        };
        let key = key.replace('"', "\"\"");
        text += &format!(
            "\"{key}\",{},{},{}\n",
            row.blocked, row.recorded, row.allowed
        );
    }
    print(text.as_bytes())?;
    Ok::<_, Failure>(ExitCode::SUCCESS)
}
