//! Tables on the terminal, JSON, and the sections of `benches/RESULTS.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::RunOn;
use crate::samples::Figure;

/// Markdown rows of some figures under one subject: best (median) of both sides, the ratio and its target.
pub(crate) fn table(peer: &str, subjects: &[(String, &[Figure])]) -> String {
    let mut out =
        format!("| model | figure | unit | hearth best (median) | {peer} best (median) | ratio | floor |\n");
    out.push_str("|---|---|---|---|---|---|---|\n");
    for (subject, figures) in subjects {
        for figure in *figures {
            let side =
                |samples: &crate::samples::Samples| match (samples.best(figure.better), samples.median()) {
                    (Some(best), Some(median)) => format!("{} ({})", number(best), number(median)),
                    _ => "–".to_owned(),
                };
            let ratio = figure
                .ratio()
                .map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let target = match (figure.target, figure.meets_target()) {
                (Some(target), Some(true)) => format!("{target} ✓"),
                (Some(target), Some(false)) => format!("{target} ✗"),
                (Some(target), None) => format!("{target}"),
                (None, _) => String::new(),
            };
            let (hearth, peer) = (side(&figure.hearth), side(&figure.peer));
            let _ = writeln!(
                out,
                "| {subject} | {} | {} | {hearth} | {peer} | {ratio} | {target} |",
                figure.name, figure.unit
            );
        }
    }
    out
}

/// Three significant digits, without an exponent.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.5}"),
    }
}

/// Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->` in the file, which must have both.
pub(crate) fn write_section(file: &Path, name: &str, body: &str, run: &RunOn) -> Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let new = replace_section(
        &old,
        name,
        &format!("{body}\n{}; commit {}; {}.\n", run.machine, run.commit, run.date),
    )
    .with_context(|| format!("{} has no section {name}", file.display()))?;
    std::fs::write(file, new).with_context(|| format!("writing {}", file.display()))
}

fn replace_section(text: &str, name: &str, body: &str) -> Option<String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = text.find(&open)? + open.len();
    let end = start + text[start..].find(&close)?;
    Some(format!("{}\n{body}\n{}", &text[..start], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        assert_eq!(
            replace_section(text, "x", "new\n").unwrap(),
            "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n"
        );
        assert_eq!(replace_section(text, "y", "new"), None);
    }
}
