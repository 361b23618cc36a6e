//! `taciturn check`: the verdict on names, and why.

use std::fmt::Write as _;
use std::io::BufRead;
use std::process::ExitCode;

use serde_json::json;

use super::table::harmless;
use super::{Outcome, failure, print};
use crate::config::Loaded;
use crate::policy::{Action, Explanation, Policy, RuleSet, explain};
use crate::server;
use crate::wire::Name;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The names; `-` reads them from standard input, one a line.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// As for this device.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> Outcome {
    let config = &loaded.config;
    let assembled = config.assemble().map_err(failure)?;
    for list in &assembled.lists {
        if let Some(error) = &list.error {
            eprintln!("warning: list `{}`: {error}", list.name);
        }
    }
    let devices = server::devices(config);
    let device = match &args.device {
        None => None,
        Some(name) => Some(devices.by_name(name).ok_or_else(|| {
            failure(format!(
                "there is no device called `{name}` in the configuration"
            ))
        })?),
    };
    let policy = &devices.treatment(device).policy;
    let mut checker = Checker {
        rules: &assembled.rules,
        policy,
        json: args.json,
        bad: false,
    };
    for name in &args.names {
        if name == "-" {
            for line in std::io::stdin().lock().lines() {
                let line = line?;
                let line = line.trim();
                if !line.is_empty() {
                    print(checker.check(line).as_bytes())?;
                }
            }
        } else {
            print(checker.check(name).as_bytes())?;
        }
    }
    Ok(if checker.bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

struct Checker<'c> {
    rules: &'c RuleSet,
    policy: &'c Policy,
    json: bool,
    bad: bool,
}

impl Checker<'_> {
    fn check(&mut self, text: &str) -> String {
        let explained = Name::from_text(text).map(|name| explain(self.rules, self.policy, &name));
        match (explained, self.json) {
            (Ok(explanation), true) => {
                let line = serde_json::to_string(&explanation).unwrap_or_default();
                line + "\n"
            }
            (Ok(explanation), false) => in_words(&explanation),
            (Err(error), json) => {
                self.bad = true;
                match json {
                    true => format!("{}\n", json!({ "name": text, "error": error.to_string() })),
                    false => format!("{}: not a name, it {error}\n", harmless(text)),
                }
            }
        }
    }
}

fn in_words(explanation: &Explanation) -> String {
    let colour = match explanation.action {
        Action::Block => anstyle::AnsiColor::Red,
        Action::Record => anstyle::AnsiColor::Yellow,
        Action::Allow => anstyle::AnsiColor::Green,
    };
    let style = colour.on_default().bold();
    let mut text = format!(
        "{}: {style}{}{style:#}\n",
        explanation.name, explanation.action
    );
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {label:<9} {value}");
        }
    };
    line("because", &explanation.reason);
    let fields = [
        ("rule", &explanation.rule),
        ("list", &explanation.list),
        ("vendor", &explanation.vendor),
        ("category", &explanation.category),
        ("evidence", &explanation.evidence),
    ];
    for (label, value) in fields {
        line(label, value.as_deref().unwrap_or_default());
    }
    line("sources", &explanation.sources.join(", "));
    line("breaks", explanation.breaks.as_deref().unwrap_or_default());
    for other in &explanation.others {
        let also = format!(
            "{} by `{}` of {}: {}",
            other.action, other.rule, other.list, other.outranked
        );
        line("not", &also);
    }
    text
}
