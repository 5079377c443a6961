//! Tables and times for people.

use std::borrow::Cow;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, Table};

use crate::time::Timestamp;

/// A table without lines, so that `grep` and `awk` can use it too.
pub(crate) struct Columns(Table);

impl Columns {
    pub(crate) fn new<const N: usize>(titles: [&str; N]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(titles.map(|title| Cell::new(title.to_uppercase())));
        let mut columns = Self(table);
        columns.pad();
        columns
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|cell| Cell::new(one_line(&cell))));
    }

    fn pad(&mut self) {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 2));
        }
    }

    pub(crate) fn text(&self) -> String {
        self.0.trim_fmt()
    }
}

/// Text from a store or an error, with nothing in it that would steer a terminal.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\n') {
        return Cow::Borrowed(text);
    }
    let safe = |c: char| {
        if c == '\n' || !c.is_control() { c.to_string() } else { c.escape_default().to_string() }
    };
    Cow::Owned(text.chars().map(safe).collect())
}

/// Text that fits a table: clean, on one line, not endless.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 100;
    let joined = clean(text).split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
    if joined.chars().count() <= LONGEST {
        return joined;
    }
    joined.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// How far away a moment is: `3m ago`, `in 2h`, `now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        return match coarse(moment.since(now)) {
            Some(text) => format!("in {text}"),
            None => "now".to_owned(),
        };
    }
    match coarse(now.since(moment)) {
        Some(text) => format!("{text} ago"),
        None => "now".to_owned(),
    }
}

/// A duration in its largest unit; nothing for less than a second.
fn coarse(duration: Duration) -> Option<String> {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= *unit)?;
    Some(format!("{}{name}", seconds / unit))
}

/// `1 job`, `1,234 jobs`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let plural = if number == 1 { "" } else { "s" };
    format!("{grouped} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_lines() {
        let mut columns = Columns::new(["queue", "jobs"]);
        columns.row(["default".into(), "12".into()]);
        assert_eq!(columns.text(), "QUEUE    JOBS\ndefault  12");
    }

    #[test]
    fn nothing_stored_steers_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb c");
        assert_eq!(one_line(&"x".repeat(500)).chars().count(), 100);
    }

    #[test]
    fn moments_are_shown_from_here() {
        let now = Timestamp::from_micros(1_000_000_000_000_000);
        let shown = |moment| relative(moment, now);
        assert_eq!(shown(now), "now");
        assert_eq!(shown(now.before(Duration::from_secs(125))), "2m ago");
        assert_eq!(shown(now.after(Duration::from_hours(25))), "in 1d");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(1, "job"), "1 job");
        assert_eq!(count(1_234_567, "job"), "1,234,567 jobs");
        assert_eq!(count(0, "job"), "0 jobs");
    }
}
