//! A chat's name, made from its first message without asking a model.

/// Longest title made here, in characters.
const MAX_CHARS: usize = 60;

/// The beginning of the first line that has words, without Markdown marks, cut at a word.
pub(crate) fn from_message(text: &str) -> String {
    let line = text
        .lines()
        .map(clean)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    if line.chars().count() <= MAX_CHARS {
        return line;
    }
    let cut: String = line.chars().take(MAX_CHARS).collect();
    let at_word = cut
        .rfind(' ')
        .filter(|at| *at > MAX_CHARS / 2)
        .unwrap_or(cut.len());
    format!("{}…", cut[..at_word].trim_end_matches([',', ';', ':', '.', ' ']))
}

fn clean(line: &str) -> String {
    let line = line.trim_start_matches(['#', '>', '-', '*', '`', ' ', '\t']);
    let printable: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    printable
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end_matches(['`', '*', '#'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_short_single_lines() {
        let check = |text: &str, title: &str| assert_eq!(from_message(text), title);
        check("What is the capital of France?", "What is the capital of France?");
        check("\n\n## Plan\tfor  today\nrest", "Plan for today");
        check("```\n```\nfix this", "fix this");
        check(" \n ", "");
        check(
            "Please explain to me in great detail how the borrow checker of Rust decides, and why",
            "Please explain to me in great detail how the borrow checker…",
        );
        check(&"ä".repeat(100), &format!("{}…", "ä".repeat(60)));
    }
}
