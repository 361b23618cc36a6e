//! Reading the file, and saying what is wrong with it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{Config, Policy, registry};
use crate::answer::BlockKind;
use crate::lists::Format;
use crate::policy::Category;

/// A commented example with every key, as `taciturn config example` prints it.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What is wrong with a configuration: where, what was expected, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, when the mistake has a place.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration and where it came from.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file; none when the defaults run.
    pub file: Option<PathBuf>,
}

/// Where a configuration is looked for when none is named: the working folder, the user's configuration
/// folder, the system's.
fn usual_places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("taciturn.toml")];
    places.extend(dirs::config_dir().map(|folder| folder.join("taciturn/taciturn.toml")));
    places.push(PathBuf::from("/etc/taciturn/taciturn.toml"));
    places
}

/// Reads `file`, or the first of the usual places that exists, or the defaults.
pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => match usual_places().into_iter().find(|place| place.is_file()) {
            Some(file) => file,
            None => {
                let mut loaded = Loaded::default();
                registry::join(&mut loaded.config)?;
                return Ok(loaded);
            }
        },
    };
    let text = std::fs::read_to_string(&file).map_err(|error| ConfigError {
        file: file.clone(),
        line: None,
        message: format!("cannot be read: {error}"),
    })?;
    let mut config = parse(&text, &file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    resolve_paths(&mut config, folder);
    registry::join(&mut config)?;
    Ok(Loaded {
        config,
        file: Some(file),
    })
}

/// Paths in the file are meant from the file's own folder.
fn resolve_paths(config: &mut Config, folder: &Path) {
    let lists = config
        .list
        .iter_mut()
        .filter_map(|l| l.as_mut().file.as_mut());
    let others = [
        config.data.as_mut(),
        config.upstream.ca_file.as_mut(),
        config.upstream.trust_anchor.as_mut(),
        config.tls.certificate.as_mut(),
        config.tls.key.as_mut(),
    ];
    for path in lists.chain(others.into_iter().flatten()) {
        *path = folder.join(&*path);
    }
}

/// Reads a configuration from text; `file` is for messages.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let config: Config = read(text, file)?;
    check(&config).map_err(|conflict| at(text, file, conflict))?;
    Ok(config)
}

/// Reads values from text, without judging them together.
pub(super) fn read<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| span.start);
        let message = explain(error.message(), line.map(|at| section_at(text, at)));
        at(text, file, (error.span(), message))
    })
}

/// A conflict at its place.
pub(super) fn at(text: &str, file: &Path, (span, message): Conflict) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        line: span.map(|span| line_of(text, span.start)),
        message,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The `[section]` that a place in the text lies in, for messages.
fn section_at(text: &str, at: usize) -> &str {
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    let headers = text[..end].lines().rev().map(str::trim);
    headers
        .filter(|line| line.starts_with('['))
        .map(|line| line.split('#').next().unwrap_or(line).trim())
        .next()
        .unwrap_or("")
}

/// Turns the parser's words into ours: an unknown key gets the nearest known one as a suggestion.
fn explain(message: &str, section: Option<&str>) -> String {
    let kinds = [("unknown field `", "key"), ("unknown variant `", "value")];
    for (start, what) in kinds {
        let Some(rest) = message.strip_prefix(start) else {
            continue;
        };
        let Some((found, expected)) = rest.split_once('`') else {
            continue;
        };
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let place = match (what, section) {
            ("key", Some(section)) if !section.is_empty() => format!(" in {section}"),
            _ => String::new(),
        };
        return format!(
            "unknown {what} `{found}`{place}; {}expected one of {}",
            suggestion(found, &known),
            known.join(", ")
        );
    }
    if let Some(rest) = message.strip_prefix("missing field `") {
        let field = rest.trim_end_matches('`');
        return format!("{} needs the key `{field}`", section.unwrap_or("this"));
    }
    let expected = match message {
        "invalid socket address syntax" => {
            "; expected an address with a port such as \"127.0.0.1:5300\" or \"[::1]:5300\""
        }
        "invalid IP address syntax" => {
            "; expected an address such as \"192.0.2.1\" or \"2001:db8::1\""
        }
        _ => "",
    };
    message.lines().collect::<Vec<_>>().join(" ") + expected
}

/// `did you mean …? ` when a known word is close enough.
pub(crate) fn suggestion(found: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(found, word), word))
        .min();
    match near {
        Some((distance, word)) if distance <= 1 + found.len() / 4 => {
            format!("did you mean `{word}`? ")
        }
        _ => String::new(),
    }
}

pub(super) type Conflict = (Option<Range<usize>>, String);

/// What the types alone cannot say.
fn check(config: &Config) -> Result<(), Conflict> {
    let anywhere = |message: &str| Err((None, message.to_owned()));
    if config.upstream.servers.is_empty() {
        return anywhere("[upstream] servers is empty; name at least one, or leave the key out");
    }
    if config.upstream.trust_anchor.is_some() && !config.upstream.dnssec {
        return anywhere(
            "[upstream] trust_anchor has no effect without dnssec = true; set that, or remove it",
        );
    }
    if config.listen.dns.is_empty() {
        return anywhere("[listen] dns is empty; name at least one address, or leave the key out");
    }
    check_tls(config).map_err(|message| (None, message.to_owned()))?;
    if config.cache.min_ttl > config.cache.max_ttl {
        return anywhere("[cache] min_ttl is longer than max_ttl; make it shorter");
    }
    if config.listen.udp_payload < 512 {
        return anywhere(
            "[listen] udp_payload is below 512, which every client may send; raise it",
        );
    }
    if config.listen.tcp_idle.0.is_zero() || config.listen.tls_idle.0.is_zero() {
        return anywhere("[listen] tcp_idle and tls_idle have to be longer than nothing");
    }
    if config.record.queue == 0 || config.listen.waiting == 0 || config.listen.tcp_pipeline == 0 {
        return anywhere(
            "[record] queue, [listen] waiting and [listen] tcp_pipeline have to be at least 1",
        );
    }
    let listen = [
        ("[listen] dns", &config.listen.dns),
        ("[listen] tls", &config.listen.tls),
        ("[listen] https", &config.listen.https),
        ("[listen] quic", &config.listen.quic),
        ("[web] listen", &config.web.listen),
    ];
    for (at, (key, addresses)) in listen.iter().enumerate() {
        if let Some(address) = first_double(addresses) {
            return anywhere(&format!("{key} names {address} twice; remove one"));
        }
        for (other, taken) in &listen[..at] {
            // QUIC goes over UDP, the other two encrypted ones over TCP.
            let apart = *key == "[listen] quic" && *other != "[listen] dns"
                || *other == "[listen] quic" && *key == "[web] listen";
            if apart {
                continue;
            }
            if let Some(address) = addresses.iter().find(|address| taken.contains(address)) {
                return anywhere(&format!(
                    "{other} and {key} both name {address}; give one of them another port"
                ));
            }
        }
    }
    for (domain, forward) in &config.forward {
        if forward.servers.is_empty() {
            return anywhere(&format!("[forward.\"{}\"] has no servers", domain.0));
        }
    }
    check_policy(&config.policy, &config.policy, "[policy]").map_err(|message| (None, message))?;
    check_lists(config)?;
    check_devices(config)
}

fn check_tls(config: &Config) -> Result<(), &'static str> {
    let (tls, listen) = (&config.tls, &config.listen);
    if tls.certificate.is_some() != tls.key.is_some() {
        return Err("[tls] certificate and key belong together; name both, or neither");
    }
    if tls.certificate.is_some() && tls.self_signed {
        return Err("[tls] has both a certificate and self_signed = true; keep one");
    }
    if !listen.is_encrypted() {
        return Ok(());
    }
    if tls.hostname.is_none() {
        return Err(
            "[listen] tls, https and quic need [tls] hostname, the name that clients ask for",
        );
    }
    if tls.certificate.is_none() && !tls.self_signed {
        return Err(
            "[listen] tls, https and quic need [tls] certificate and key, or self_signed = true to try things out",
        );
    }
    Ok(())
}

fn first_double<T: PartialEq>(items: &[T]) -> Option<&T> {
    let mut seen = items.iter().enumerate();
    seen.find(|(at, item)| items[..*at].contains(item))
        .map(|(_, item)| item)
}

fn check_policy(policy: &Policy, base: &Policy, place: &str) -> Result<(), String> {
    let kind = policy.answer.or(base.answer).unwrap_or_default();
    let addresses = !policy.addresses.is_empty() || !base.addresses.is_empty();
    if kind == BlockKind::Address && !addresses {
        return Err(format!(
            "{place} answer = \"address\" needs the key addresses"
        ));
    }
    if kind != BlockKind::Address && !policy.addresses.is_empty() {
        return Err(format!(
            "{place} addresses has no effect without answer = \"address\"; set that, or remove it"
        ));
    }
    if policy.categories.contains_key(&Category::MustResolve) {
        return Err(format!(
            "{place} must-resolve cannot be changed as a whole; block single names in [rules]"
        ));
    }
    Ok(())
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 60 || name.chars().any(char::is_control) {
        let name = name.escape_debug();
        return Err(format!(
            "{what} name `{name}` has to be 1 to 60 characters, without control characters"
        ));
    }
    Ok(())
}

fn check_lists(config: &Config) -> Result<(), Conflict> {
    let mut names = HashSet::new();
    for list in &config.list {
        let refuse = |message: String| Err((Some(list.span()), message));
        let value = list.get_ref();
        let name = &value.name;
        if let Err(message) = check_name("list", name) {
            return refuse(message);
        }
        if name == crate::lists::CATALOGUE || name == crate::lists::OWN_RULES {
            return refuse(format!(
                "list name `{name}` is taken by taciturn itself; choose another"
            ));
        }
        if !names.insert(name) {
            return refuse(format!("two lists are called `{name}`; rename one"));
        }
        match (&value.file, &value.url) {
            (None, None) => return refuse(format!("list `{name}` needs the key file or url")),
            (Some(_), Some(_)) => {
                return refuse(format!("list `{name}` has both file and url; keep one"));
            }
            _ => {}
        }
        if let Some(format) = &value.format {
            let known: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
            if !known.contains(&format.as_str()) {
                return refuse(format!(
                    "list `{name}` has the unknown format `{format}`; {}expected one of {}",
                    suggestion(format, &known),
                    known.join(", ")
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn check_devices(config: &Config) -> Result<(), Conflict> {
    let mut names = HashSet::new();
    let mut networks = HashMap::new();
    let mut labels = HashMap::new();
    for device in &config.device {
        let refuse = |message: String| Err((Some(device.span()), message));
        let value = device.get_ref();
        let name = &value.name;
        if let Err(message) = check_name("device", name) {
            return refuse(message);
        }
        if !names.insert(name) {
            return refuse(format!("two devices are called `{name}`; rename one"));
        }
        if value.label.is_none() && value.addresses.is_empty() {
            return refuse(format!(
                "device `{name}` needs the key addresses or label, to be known by"
            ));
        }
        if let Some(label) = &value.label
            && let Some(other) = labels.insert(label.0.as_str(), name)
        {
            return refuse(format!(
                "devices `{other}` and `{name}` both have the label {}; remove one",
                label.0
            ));
        }
        for network in &value.addresses {
            if let Some(other) = networks.insert(network.0.trunc(), name) {
                return refuse(format!(
                    "devices `{other}` and `{name}` both have the address {}; remove one",
                    network.0
                ));
            }
        }
        if let Err(message) = check_policy(&value.policy, &config.policy, "[device.policy]") {
            return refuse(message);
        }
    }
    Ok(())
}
