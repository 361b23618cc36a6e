//! `taciturn device`: phones and computers, each with a host name that is its alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;
use toml_edit::value;

use super::{Failure, Outcome, failure, print, table};
use crate::config::registry::{self, Registry};
use crate::config::{Config, Device, Loaded};
use crate::device::setup::Setup;
use crate::files;
use crate::record::sqlite::{SqliteStore, file_in};

/// How long a running server needs to take up a change of the registry.
const TAKEN_UP: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Register a device, and show what to enter on it.
    Add {
        /// Its name in counts and log.
        name: String,
    },
    /// Show all devices.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what to enter on a device.
    Show {
        /// The device.
        name: String,
        /// Write a profile for an iPhone, iPad or Mac to this file.
        #[arg(long, value_name = "FILE")]
        mobileconfig: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a device another name; its host name and its counts stay its own.
    Rename {
        /// The device.
        name: String,
        /// Its new name.
        to: String,
    },
    /// Give a device another host name, because somebody else knows the old one.
    Rotate {
        /// The device.
        name: String,
    },
    /// Remove a device: its host name is turned away from then on. Its counts stay.
    Remove {
        /// The device.
        name: String,
    },
    /// Block and record nothing for a while.
    Pause {
        /// The device.
        name: String,
        /// For how long, such as 10m.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Duration,
    },
    /// End a pause.
    Resume {
        /// The device.
        name: String,
    },
}

pub(super) fn run(args: &Args, loaded: &Loaded) -> Outcome {
    let config = &loaded.config;
    match &args.command {
        Command::Add { name } => add(name, config),
        Command::List { json } => list(*json, config),
        Command::Show {
            name,
            mobileconfig,
            json,
        } => show(find(name, config)?, mobileconfig.as_deref(), *json, config),
        Command::Rename { name, to } => rename(name, to, config),
        Command::Rotate { name } => {
            let label = registry::new_label(name);
            change(name, config, |device| device["label"] = value(&label.0))?;
            let mut device = find(name, config)?.clone();
            device.label = Some(label);
            show(&device, None, false, config)
        }
        Command::Remove { name } => {
            let mut registry = open(name, config)?;
            registry.remove(name);
            registry.save()?;
            print(format!("{name} is removed\n").as_bytes())
        }
        Command::Pause { name, time } => {
            let until = Timestamp::now() + *time;
            change(name, config, |device| {
                device["paused_until"] = value(until.to_string());
            })?;
            let until = table::time(until.as_millisecond());
            print(format!("{name} is paused until {until}\n").as_bytes())
        }
        Command::Resume { name } => {
            change(name, config, |device| {
                device.remove("paused_until");
            })?;
            print(format!("{name} is no longer paused\n").as_bytes())
        }
    }
}

fn find<'c>(name: &str, config: &'c Config) -> Result<&'c Device, Failure> {
    let mut devices = config.device.iter().map(|device| device.get_ref());
    devices.find(|device| device.name == name).ok_or_else(|| {
        failure(format!(
            "there is no device called `{name}`; `taciturn device list` shows them"
        ))
    })
}

/// The registry, if it is there that the device is registered.
fn open(name: &str, config: &Config) -> Result<Registry, Failure> {
    find(name, config)?;
    let registry = Registry::open(&config.data_folder())?;
    match registry.has(name) {
        true => Ok(registry),
        false => Err(failure(format!(
            "`{name}` stands in the configuration; change it there"
        ))),
    }
}

fn change(
    name: &str,
    config: &Config,
    change: impl FnOnce(&mut toml_edit::Table),
) -> Result<(), Failure> {
    let mut registry = open(name, config)?;
    if let Some(device) = registry.device(name) {
        change(device);
    }
    Ok(registry.save()?)
}

fn add(name: &str, config: &Config) -> Outcome {
    let name = name.trim();
    free(name, config)?;
    let label = registry::new_label(name);
    let mut registry = Registry::open(&config.data_folder())?;
    registry.add(name, &label);
    registry.save()?;
    let device = Device {
        name: name.to_owned(),
        label: Some(label),
        addresses: Vec::new(),
        paused_until: None,
        policy: crate::config::Policy::default(),
    };
    show(&device, None, false, config)
}

/// Whether a name can be given.
fn free(name: &str, config: &Config) -> Result<(), Failure> {
    crate::config::check_name("device", name).map_err(failure)?;
    match find(name, config) {
        Ok(_) => Err(failure(format!(
            "there is a device called `{name}` already; `taciturn device show` shows it"
        ))),
        Err(_) => Ok(()),
    }
}

fn rename(name: &str, to: &str, config: &Config) -> Outcome {
    let to = to.trim();
    free(to, config)?;
    change(name, config, |device| device["name"] = value(to))?;
    if file_in(&config.data_folder()).exists() {
        // What a running server counts until it knows the new name is to come along.
        std::thread::sleep(TAKEN_UP);
        SqliteStore::open(&config.data_folder())?.rename_device(name, to)?;
    }
    print(format!("{name} is now called {to}\n").as_bytes())
}

fn setup(device: &Device, config: &Config) -> Option<Setup> {
    let label = device.label.as_ref()?;
    let hostname = config.tls.hostname.as_ref()?;
    let https = config.listen.https.first().map(|address| address.port());
    Some(Setup::new(&device.name, &label.0, &hostname.0, https))
}

fn list(as_json: bool, config: &Config) -> Outcome {
    let now = Timestamp::now();
    let devices = config.device.iter().map(|device| device.get_ref());
    if as_json {
        let all: Vec<_> = devices.map(|device| described(device, config)).collect();
        return print(format!("{}\n", json!(all)).as_bytes());
    }
    let mut rows = table::new(&["device", "host name", "addresses", "paused until"]);
    for device in devices {
        let addresses: Vec<String> = device.addresses.iter().map(|n| n.0.to_string()).collect();
        let paused = device.paused_until.filter(|until| *until > now);
        rows.add_row([
            table::harmless(&device.name),
            setup(device, config).map_or_else(String::new, |setup| setup.hostname),
            addresses.join(", "),
            paused.map_or_else(String::new, |until| table::time(until.as_millisecond())),
        ]);
    }
    print(&table::bytes(&rows))
}

fn described(device: &Device, config: &Config) -> serde_json::Value {
    let setup = setup(device, config);
    json!({
        "name": device.name,
        "hostname": setup.as_ref().map(|setup| &setup.hostname),
        "https": setup.as_ref().and_then(|setup| setup.https.as_ref()),
        "addresses": device.addresses.iter().map(|n| n.0.to_string()).collect::<Vec<_>>(),
        "paused_until": device.paused_until.map(|until| until.to_string()),
    })
}

fn show(device: &Device, mobileconfig: Option<&Path>, as_json: bool, config: &Config) -> Outcome {
    if as_json {
        return print(format!("{}\n", described(device, config)).as_bytes());
    }
    let Some(setup) = setup(device, config) else {
        let why = match device.label {
            None => {
                "it is known by its addresses alone; `label` in the configuration gives it a host name"
            }
            Some(_) => {
                "it gets a host name once the configuration has [tls] hostname, and [listen] tls to be reached by it"
            }
        };
        print(format!("{}: {why}\n", table::harmless(&device.name)).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(file) = mobileconfig {
        // Who has the profile can ask as that device.
        files::replace(file, &setup.mobileconfig(), files::PRIVATE)?;
        return print(format!("the profile is in {}\n", file.display()).as_bytes());
    }
    print(steps(&setup).as_bytes())
}

fn steps(setup: &Setup) -> String {
    let Setup {
        name,
        hostname,
        https,
    } = setup;
    let mut text = format!(
        "{name} asks under a host name of its own:\n\n    {hostname}\n\n{}\n\
         On the phone open Settings, search for \"Private DNS\", choose \"Private DNS provider hostname\" (on some\n\
         phones \"Specified\" or \"Designated\"), enter the host name, and save. The entry lies under\n\n\
         \x20   Xiaomi, Redmi, POCO    More connectivity options > Private DNS\n\
         \x20                          (older MIUI: Connection & sharing > Private DNS)\n\
         \x20   Oppo, realme, OnePlus  Connection & sharing > Private DNS\n\
         \x20                          (older OxygenOS: Wi-Fi & network > Private DNS)\n\
         \x20   other Android          Network & internet > Private DNS\n\n\
         iPhone, iPad, Mac: `taciturn device show --mobileconfig FILE {}`, and open the file there.\n",
        setup.qr(),
        quoted(name),
    );
    if let Some(https) = https {
        let _ = writeln!(
            text,
            "Browsers and Windows: DNS over HTTPS with the address {https}"
        );
    }
    text += "\nWho knows the host name can ask as this device: `taciturn device rotate` gives it another.\n";
    text
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}
