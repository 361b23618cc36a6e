//! The embedded store: one SQLite file in the data folder, in WAL mode, so that a killed process or power
//! cut costs the last second and readers never wait for the writer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::store::{
    Batch, CountQuery, CountRow, Grouping, LogQuery, LogRow, Reader, RuleKey, Store, StoreError,
};
use crate::files::make_private_folder;

/// The layout's version, kept in the file (`PRAGMA user_version`).
const VERSION: i64 = 1;

/// Names of vendors, rules and hosts are kept once; a count row is five small integers.
const LAYOUT: &str = "
    CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE rule (
        id INTEGER PRIMARY KEY,
        action TEXT NOT NULL, vendor TEXT NOT NULL, category TEXT NOT NULL,
        entry TEXT NOT NULL, list TEXT NOT NULL,
        UNIQUE (action, vendor, category, entry, list)
    );
    CREATE TABLE count (
        hour INTEGER NOT NULL, device INTEGER NOT NULL, rule INTEGER NOT NULL, name INTEGER NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY (hour, device, rule, name)
    ) WITHOUT ROWID;
    CREATE TABLE log (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL, device INTEGER NOT NULL, rule INTEGER NOT NULL, name INTEGER NOT NULL,
        qtype INTEGER NOT NULL, via TEXT NOT NULL
    );
    CREATE INDEX log_at ON log (at);
";

/// Rows that one call of [`Store::prune`] deletes at most.
const PRUNE_STEP: i64 = 5000;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// The file of the store in a data folder.
pub fn file_in(folder: &Path) -> PathBuf {
    folder.join("taciturn.sqlite")
}

/// The writing side; there is one per file.
pub struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens the store in a data folder, making folder and file when they are missing.
    ///
    /// # Errors
    ///
    /// A sentence: the folder cannot be written, the file is no database, or a newer release laid it out.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        // Counts and log are about people: the folder is its owner's alone.
        make_private_folder(folder)
            .map_err(|error| StoreError(format!("{} cannot be made: {error}", folder.display())))?;
        let file = file_in(folder);
        let failed = |error: rusqlite::Error| StoreError(format!("{}: {error}", file.display()));
        let mut connection = Connection::open(&file).map_err(failed)?;
        connection
            .busy_timeout(Duration::from_secs(2))
            .map_err(failed)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(failed)?;
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed)?;
        match version {
            0 => {
                let change = connection.transaction().map_err(failed)?;
                change.execute_batch(LAYOUT).map_err(failed)?;
                change
                    .pragma_update(None, "user_version", VERSION)
                    .map_err(failed)?;
                change.commit().map_err(failed)?;
            }
            VERSION => {}
            newer => {
                return Err(StoreError(format!(
                    "{} was laid out by a newer release (version {newer}, this one knows {VERSION})",
                    file.display()
                )));
            }
        }
        Ok(Self { connection })
    }

    /// Puts what was counted and logged for one device to the account of another.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; then everything is as before.
    pub fn rename_device(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let change = self.connection.transaction()?;
        {
            let known = "SELECT id FROM device WHERE name = ?1";
            let old: Option<i64> = change
                .query_row(known, [from], |row| row.get(0))
                .optional()?;
            let Some(old) = old else {
                return Ok(());
            };
            let new = text_id(&change, "device", to)?;
            change.execute(
                "INSERT INTO count (hour, device, rule, name, n)
                 SELECT hour, ?2, rule, name, n FROM count WHERE device = ?1
                 ON CONFLICT (hour, device, rule, name) DO UPDATE SET n = n + excluded.n",
                [old, new],
            )?;
            change.execute("DELETE FROM count WHERE device = ?1", [old])?;
            change.execute("UPDATE log SET device = ?2 WHERE device = ?1", [old, new])?;
            change.execute("DELETE FROM device WHERE id = ?1", [old])?;
        }
        change.commit()?;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let change = self.connection.transaction()?;
        {
            let mut add = change.prepare_cached(
                "INSERT INTO count (hour, device, rule, name, n) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (hour, device, rule, name) DO UPDATE SET n = n + excluded.n",
            )?;
            for (key, n) in &batch.counts {
                let device = text_id(&change, "device", &key.device)?;
                let rule = rule_id(&change, &key.rule)?;
                let name = text_id(&change, "name", &key.name)?;
                add.execute(params![key.hour, device, rule, name, *n as i64])?;
            }
            let mut log = change.prepare_cached(
                "INSERT INTO log (at, device, rule, name, qtype, via) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for row in &batch.log {
                let device = text_id(&change, "device", &row.device)?;
                let rule = rule_id(&change, &row.rule)?;
                let name = text_id(&change, "name", &row.name)?;
                log.execute(params![row.at, device, rule, name, row.qtype, row.via])?;
            }
        }
        change.commit()?;
        Ok(())
    }

    fn prune(&mut self, log_before: i64, counts_before: i64) -> Result<bool, StoreError> {
        let log = self.connection.execute(
            "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE at < ?1 LIMIT ?2)",
            params![log_before, PRUNE_STEP],
        )?;
        let oldest: Option<i64> =
            self.connection
                .query_row("SELECT min(hour) FROM count", [], |row| row.get(0))?;
        let counts = match oldest.filter(|hour| *hour < counts_before) {
            Some(hour) => self
                .connection
                .execute("DELETE FROM count WHERE hour = ?1", [hour])?,
            None => 0,
        };
        if log + counts > 0 {
            // Names and rules that nothing speaks of any more are forgotten, too.
            self.connection.execute_batch(
                "DELETE FROM name WHERE id NOT IN (SELECT name FROM log)
                                    AND id NOT IN (SELECT name FROM count);
                 DELETE FROM rule WHERE id NOT IN (SELECT rule FROM log)
                                    AND id NOT IN (SELECT rule FROM count);",
            )?;
        }
        Ok(log as i64 == PRUNE_STEP || counts > 0)
    }
}

/// The number of a text in one of the two tables of texts.
fn text_id(change: &Transaction<'_>, table: &str, text: &str) -> rusqlite::Result<i64> {
    let (find, add) = match table {
        "device" => (
            "SELECT id FROM device WHERE name = ?1",
            "INSERT INTO device (name) VALUES (?1)",
        ),
        _ => (
            "SELECT id FROM name WHERE name = ?1",
            "INSERT INTO name (name) VALUES (?1)",
        ),
    };
    let found = change
        .prepare_cached(find)?
        .query_row([text], |row| row.get(0));
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => change.prepare_cached(add)?.insert([text]),
        found => found,
    }
}

fn rule_id(change: &Transaction<'_>, rule: &RuleKey) -> rusqlite::Result<i64> {
    let values = params![
        rule.action,
        rule.vendor,
        rule.category,
        rule.entry,
        rule.list
    ];
    let found = change
        .prepare_cached(
            "SELECT id FROM rule
             WHERE action = ?1 AND vendor = ?2 AND category = ?3 AND entry = ?4 AND list = ?5",
        )?
        .query_row(values, |row| row.get(0));
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => change
            .prepare_cached(
                "INSERT INTO rule (action, vendor, category, entry, list) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .insert(values),
        found => found,
    }
}

/// The reading side; any number per file, in any process.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    /// Opens the store in a data folder for reading.
    ///
    /// # Errors
    ///
    /// A sentence, when there is no store yet or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = file_in(folder);
        if !file.exists() {
            return Err(StoreError(format!(
                "{} does not exist: nothing has been counted yet, or [data] names another folder",
                file.display()
            )));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)
            .map_err(|error| StoreError(format!("{}: {error}", file.display())))?;
        connection.busy_timeout(Duration::from_secs(2))?;
        Ok(Self { connection })
    }
}

impl Reader for SqliteReader {
    fn counts(&self, query: &CountQuery) -> Result<Vec<CountRow>, StoreError> {
        let key = match query.by {
            Grouping::Vendor => "rule.vendor",
            Grouping::Category => "rule.category",
            Grouping::Domain => "name.name",
            Grouping::Device => "device.name",
            Grouping::Hour => "count.hour * 3600",
            Grouping::List => "rule.list",
            Grouping::Entry => "rule.entry",
        };
        let order = match query.by {
            Grouping::Hour => "count.hour",
            _ => "blocked + recorded DESC, allowed DESC, key",
        };
        let sql = format!(
            "SELECT {key} AS key,
                    sum(CASE rule.action WHEN 'block' THEN n ELSE 0 END) AS blocked,
                    sum(CASE rule.action WHEN 'record' THEN n ELSE 0 END) AS recorded,
                    sum(CASE rule.action WHEN 'allow' THEN n ELSE 0 END) AS allowed
             FROM count
             JOIN rule ON rule.id = count.rule
             JOIN name ON name.id = count.name
             JOIN device ON device.id = count.device
             WHERE count.hour >= ?1
               AND (?2 IS NULL OR device.name = ?2)
               AND (?3 IS NULL OR rule.vendor = ?3)
               AND (?5 IS NULL OR rule.category = ?5)
             GROUP BY {key} ORDER BY {order} LIMIT ?4"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let since = query.since.div_euclid(3600);
        let rows = statement.query_map(
            params![
                since,
                query.device,
                query.vendor,
                query.limit,
                query.category
            ],
            |row| {
                let key = match row.get_ref("key")? {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    text => text.as_str()?.to_owned(),
                };
                Ok(CountRow {
                    key,
                    blocked: row.get::<_, i64>("blocked")? as u64,
                    recorded: row.get::<_, i64>("recorded")? as u64,
                    allowed: row.get::<_, i64>("allowed")? as u64,
                })
            },
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT log.id, log.at, device.name AS device, name.name AS name, log.qtype, rule.action,
                    rule.entry, rule.list, rule.vendor, rule.category, log.via
             FROM log
             JOIN rule ON rule.id = log.rule
             JOIN name ON name.id = log.name
             JOIN device ON device.id = log.device
             WHERE log.id > ?1
               AND (?2 IS NULL OR device.name = ?2)
               AND (?3 IS NULL OR rule.action = ?3)
             ORDER BY log.id DESC LIMIT ?4",
        )?;
        let after = query.after.unwrap_or(0);
        let rows = statement.query_map(
            params![after, query.device, query.action, query.limit],
            |row| {
                let qtype: u16 = row.get("qtype")?;
                Ok(LogRow {
                    id: row.get("id")?,
                    at: row.get("at")?,
                    device: row.get("device")?,
                    name: row.get("name")?,
                    qtype: hickory_proto::rr::RecordType::from(qtype).to_string(),
                    action: row.get("action")?,
                    rule: row.get("entry")?,
                    list: row.get("list")?,
                    vendor: row.get("vendor")?,
                    category: row.get("category")?,
                    via: row.get("via")?,
                })
            },
        )?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.reverse();
        Ok(rows)
    }
}
