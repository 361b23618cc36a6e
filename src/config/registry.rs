//! `devices.toml` in the data folder: the devices that `taciturn device` registers, beside those in the
//! configuration. People may edit it, too; what they write there stays.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::load::{at, check_devices, read};
use super::{Config, ConfigError, Device, Label};
use crate::files;

/// Letters and digits that nobody takes for others when typing them.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// How many of them make a label unguessable: one in 8 * 10^11.
const SECRET: usize = 8;
/// The longest part of a label that comes from the device's name.
const READABLE: usize = 40;

const HEAD: &str = "# The devices that `taciturn device` registers. Their labels are secrets: who knows one can ask as\n\
                    # that device.\n";

/// The file in a data folder.
pub fn file(data: &Path) -> PathBuf {
    data.join("devices.toml")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    #[serde(default)]
    device: Vec<Spanned<Device>>,
}

/// Adds the registered devices to those of the configuration.
pub(super) fn join(config: &mut Config) -> Result<(), ConfigError> {
    let file = file(&config.data_folder());
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(unreadable(&file, &error)),
    };
    let registered: Devices = read(&text, &file)?;
    config.device.extend(registered.device);
    check_devices(config).map_err(|conflict| at(&text, &file, conflict))
}

fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn unreadable(file: &Path, error: &dyn std::error::Error) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    }
}

/// A new label for a device: its name as far as a host name can have it, and what nobody can guess.
pub fn new_label(name: &str) -> Label {
    let mut label = String::new();
    for letter in name.chars().flat_map(char::to_lowercase) {
        match letter {
            'a'..='z' | '0'..='9' => label.push(letter),
            _ if !label.is_empty() && !label.ends_with('-') => label.push('-'),
            _ => {}
        }
        if label.len() >= READABLE {
            break;
        }
    }
    let mut label = label.trim_matches('-').to_owned();
    if !label.is_empty() {
        label.push('-');
    }
    for _ in 0..SECRET {
        let at = rand::random_range(0..ALPHABET.len());
        label.push(char::from(ALPHABET[at]));
    }
    Label(label)
}

/// The registry's file, to be changed.
pub struct Registry {
    file: PathBuf,
    document: DocumentMut,
}

impl Registry {
    /// Opens the registry in a data folder; it need not be there yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn open(data: &Path) -> Result<Self, ConfigError> {
        let file = file(data);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => HEAD.to_owned(),
            Err(error) => return Err(unreadable(&file, &error)),
        };
        let document = text
            .parse::<DocumentMut>()
            .map_err(|error| unreadable(&file, &error))?;
        Ok(Self { file, document })
    }

    /// Whether the device is one of these, and not one of the configuration.
    pub fn has(&self, name: &str) -> bool {
        self.tables()
            .is_some_and(|tables| tables.iter().any(|table| is_called(table, name)))
    }

    /// The table of a device, to be changed.
    pub fn device(&mut self, name: &str) -> Option<&mut Table> {
        let tables = self.document.get_mut("device")?;
        let tables = tables.as_array_of_tables_mut()?;
        tables.iter_mut().find(|table| is_called(table, name))
    }

    /// Adds a device with a label.
    pub fn add(&mut self, name: &str, label: &Label) {
        let mut table = Table::new();
        table["name"] = toml_edit::value(name);
        table["label"] = toml_edit::value(&label.0);
        let devices = self.document.entry("device");
        let tables = devices.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        if let Some(tables) = tables.as_array_of_tables_mut() {
            tables.push(table);
        }
    }

    /// Removes a device.
    pub fn remove(&mut self, name: &str) {
        let tables = self.document.get_mut("device");
        if let Some(tables) = tables.and_then(Item::as_array_of_tables_mut) {
            tables.retain(|table| !is_called(table, name));
        }
    }

    /// Writes the file: readable for its owner alone, and never half.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn save(&self) -> std::io::Result<()> {
        if let Some(folder) = self.file.parent() {
            files::make_private_folder(folder)?;
        }
        let text = self.document.to_string();
        files::replace(&self.file, text.as_bytes(), files::PRIVATE)
    }

    fn tables(&self) -> Option<&ArrayOfTables> {
        self.document.get("device")?.as_array_of_tables()
    }
}

fn is_called(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_the_name_and_a_secret() {
        for (name, start) in [
            ("Anne's Redmi", "anne-s-redmi-"),
            ("Zoë", "zo-"),
            ("电话", ""),
            ("--x--", "x-"),
        ] {
            let label = new_label(name).0;
            let secret = label.strip_prefix(start).unwrap();
            assert_eq!(secret.len(), SECRET, "{label}");
            assert_ne!(new_label(name).0, label);
        }
        assert!(new_label(&"x".repeat(60)).0.len() <= 63);
    }

    #[test]
    fn what_people_wrote_stays() {
        let data = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(data.path()).unwrap();
        registry.add("one", &Label("one-a".into()));
        registry.save().unwrap();
        let file = file(data.path());
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text + "# mine\n[device.policy]\nanswer = \"nxdomain\"\n";
        std::fs::write(&file, &text).unwrap();
        let mut registry = Registry::open(data.path()).unwrap();
        registry.add("two", &Label("two-b".into()));
        registry.device("one").unwrap()["label"] = toml_edit::value("one-c");
        registry.save().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("# mine") && text.contains("one-c") && !text.contains("one-a"));
        let mut config = Config {
            data: Some(data.path().to_owned()),
            ..Config::default()
        };
        join(&mut config).unwrap();
        let names: Vec<&str> = config
            .device
            .iter()
            .map(|d| d.get_ref().name.as_str())
            .collect();
        assert_eq!(names, ["one", "two"]);
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
