//! Words and numbers as people read them.

use console::{measure_text_width, strip_ansi_codes};
use unicode_segmentation::UnicodeSegmentation;

/// Text without what a terminal would obey: control characters other than line ends and tabs.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .filter(harmless)
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

/// One line of at most `width` columns.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    cut(&joined(text), width)
}

/// The beginning of what somebody said, on one line: at most `most` characters as people count them, then `…`.
pub(crate) fn quote(text: &str, most: usize) -> String {
    let line = joined(text);
    match line.grapheme_indices(true).nth(most) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// A text on one line, without colours and what else a terminal would obey.
fn joined(text: &str) -> String {
    let words = strip_ansi_codes(text);
    printable(&words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text as far as `width` columns have room for it; what is read as one character is not cut in two.
fn cut(text: &str, width: usize) -> String {
    let columns = |character: &str| measure_text_width(character).min(2);
    let (mut used, mut fitting) = (0, 0);
    for (start, character) in text.grapheme_indices(true) {
        used += columns(character);
        if used > width {
            return format!("{}…", &text[..fitting]);
        }
        // With room for the mark that there is more.
        if used < width {
            fitting = start + character.len();
        }
    }
    text.to_owned()
}

/// A sentence: begins with a capital letter, ends with a full stop.
///
/// The beginning of a command, path or name is left as it is, and so is the end of a command, which will be copied.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end();
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let plain = first_word
        .chars()
        .all(|c| c.is_alphabetic() || matches!(c, ',' | '\''))
        && first_word != "hearth";
    let mut result = String::with_capacity(text.len() + 1);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if plain => result.extend(first.to_uppercase()),
        Some(first) => result.push(first),
        None => {}
    }
    result.push_str(letters.as_str());
    let command = result
        .rsplit(": ")
        .next()
        .is_some_and(|end| end.starts_with("hearth "));
    if !command && result.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | '"' | '`' | '\'')) {
        result.push('.');
    }
    result
}

/// A size in bytes, as `98 MB` or `1.1 GB` (powers of 1000, as downloads and disks are sold).
pub(crate) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e3 => format!("{b} bytes"),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b if b < 1e10 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.0} GB", b / 1e9),
    }
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut result = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            result.push(',');
        }
        result.push(digit);
    }
    result
}

/// A number and its noun: `1 chat`, `2 chats`, `3 memories`.
pub(crate) fn counted(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    let number_of = count(number);
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{number_of} {noun}"),
        Some(stem) if !noun.ends_with("ay") => format!("{number_of} {stem}ies"),
        _ => format!("{number_of} {noun}s"),
    }
}

/// A duration in seconds, as `8 s`, `3 min` or `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long ago, or the date (UTC) when that is clearer.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    let minutes = (now_ms - then_ms).max(0) / 60_000;
    match minutes {
        0 => "just now".to_owned(),
        1..=59 => format!("{minutes} min ago"),
        60..=1439 => format!("{} h ago", minutes / 60),
        1440..=2879 => "yesterday".to_owned(),
        2880..=10_079 => format!("{} days ago", minutes / 1440),
        _ => time::OffsetDateTime::from_unix_timestamp(then_ms / 1000)
            .map_or_else(|_| "long ago".to_owned(), |at| at.date().to_string()),
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// Rows as columns two spaces apart, headed by `head`; the last column takes what is left of `width`.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let columns = head.len();
    let widest = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| measure_text_width(cell));
        cells.max().unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let before_last: usize = widths[..columns - 1].iter().map(|width| width + 2).sum();
    let last = width.saturating_sub(before_last).max(12);
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            if column + 1 == columns {
                line.push_str(&cut(cell, last));
            } else {
                line.push_str(cell);
                line.push_str(&" ".repeat(widths[column] + 2 - measure_text_width(cell)));
            }
        }
        line.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    std::iter::once(head)
        .chain(rows.iter().cloned())
        .map(|row| line(&row))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_given_orders() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{7}\r\nc\td\u{9b}e\u{202e}f"),
            "a[31mb\nc\tdef"
        );
        assert_eq!(one_line("  a\n b\u{7} c ", 4), "a b…");
    }

    #[test]
    fn what_is_read_as_one_character_is_not_cut() {
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        assert_eq!(one_line(&family.repeat(3), 5), format!("{}…", family.repeat(2)));
        assert_eq!(one_line(&family.repeat(2), 4), family.repeat(2));
        assert_eq!(one_line("ne\u{301}e\u{301}", 2), "n…");
        assert_eq!(one_line("犬犬犬", 4), "犬…");
        assert_eq!(one_line("abc", 3), "abc");
        assert_eq!(quote(&family.repeat(81), 80), format!("{}…", family.repeat(80)));
        assert_eq!(quote(&"e\u{301}".repeat(80), 80), "e\u{301}".repeat(80));
        assert_eq!(quote("one two  three", 4), "one…");
        assert_eq!(
            quote("\"Rex\"\n\tsays \u{1b}[31mwoof\u{1b}[0m ", 80),
            "\"Rex\" says woof"
        );
    }

    #[test]
    fn sentences_begin_large_and_end_with_a_stop() {
        assert_eq!(sentence("this chat is busy"), "This chat is busy.");
        assert_eq!(sentence("/a/b: no such file"), "/a/b: no such file.");
        assert_eq!(
            sentence("get it with: hearth models pull x"),
            "Get it with: hearth models pull x"
        );
        assert_eq!(sentence("Done?"), "Done?");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            (size(999), size(98_362_432), size(1_117_320_768)),
            ("999 bytes".into(), "98 MB".into(), "1.1 GB".into())
        );
        assert_eq!(
            (count(0_u32), count(999_u32), count(1_234_567_u32)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(
            (duration(4.4), duration(100.0), duration(7500.0)),
            ("4 s".into(), "2 min".into(), "2 h 5 min".into())
        );
        assert_eq!(
            (counted(1_u32, "chat"), counted(2_u32, "chat")),
            ("1 chat".into(), "2 chats".into())
        );
    }

    #[test]
    fn times_are_told_as_people_do() {
        let day = 86_400_000;
        let ago = |ms| ago(100 * day - ms, 100 * day);
        assert_eq!(
            (ago(5), ago(120_000), ago(day), ago(3 * day)),
            (
                "just now".into(),
                "2 min ago".into(),
                "yesterday".into(),
                "3 days ago".into()
            )
        );
        assert_eq!(ago(90 * day), "1970-01-11");
        assert_eq!(ago(-5), "just now");
    }

    #[test]
    fn tables_fit_narrow_terminals() {
        let rows = vec![vec!["ab".to_owned(), "a long title of a chat".to_owned()]];
        assert_eq!(
            table(&["id", "title"], &rows, 20),
            ["id  title", "ab  a long title of…"].map(str::to_owned)
        );
        assert_eq!(table(&["id", "title"], &[], 20), ["id  title"]);
    }
}
