//! Tables that fit the terminal.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, TableStyle};

/// A table with a head line and no frame. Columns whose head starts with `#` are numbers.
pub(super) fn new(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(
            head.iter()
                .map(|text| Cell::new(text.trim_start_matches('#')).add_attribute(Attribute::Bold)),
        );
    for (at, text) in head.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if text.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// The table as bytes to print.
pub(super) fn bytes(table: &Table) -> Vec<u8> {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.into_bytes()
}

/// A time of this machine's zone, from milliseconds since 1970.
pub(super) fn time(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => {
            let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => "?".to_owned(),
    }
}

/// Text from the network or a list as it may go to a terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
