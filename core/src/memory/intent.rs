//! "Remember that…" and "forget…", recognised at once and without a model.
//!
//! Only commands count: not questions ("do you remember…?"), not talk of one's own memory ("I can't remember that song"),
//! not idioms ("forget it"), not text that the user pasted. English, German, French, Spanish, Italian, Portuguese and Dutch;
//! the phrases are data ([`phrases`]).

mod phrases;

use phrases::{LANGUAGES, Language};

/// What a message asks of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// To keep this, in the user's words.
    Remember(String),
    /// To forget what has to do with this. "This" and its like mean what was said last.
    Forget(String),
    /// Nothing.
    None,
}

/// A longer message is taken for pasted text: only its first and last sentences can be commands.
const LONG_CHARS: usize = 1_000;

/// What a message asks of the memory.
pub fn intent(text: &str) -> Intent {
    let spoken = without_quotes(text);
    let sentences = sentences(&spoken);
    let long = spoken.chars().count() > LONG_CHARS;
    let last = sentences.len().saturating_sub(1);
    for (number, sentence) in sentences.iter().enumerate() {
        if long && number != 0 && number != last {
            continue;
        }
        let rest = &spoken[sentence.end..];
        let found = command(&spoken[sentence.clone()], rest, number == 0);
        if found != Intent::None {
            return found;
        }
    }
    Intent::None
}

/// The message without code, quotations and lines that answer something.
fn without_quotes(text: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code && !line.trim_start().starts_with('>') {
            out.push_str(line);
            out.push('\n');
        }
    }
    // Opening marks at a word's start begin a quotation that hides commands.
    let mut kept = String::with_capacity(out.len());
    let mut closing: Option<char> = None;
    let mut before = ' ';
    for c in out.chars() {
        match closing {
            Some(end) if c == end => closing = None,
            Some(_) => kept.push(if c.is_alphanumeric() { '_' } else { c }),
            None => {
                closing = match c {
                    '"' if !before.is_alphanumeric() => Some('"'),
                    '“' | '„' => Some(if c == '“' { '”' } else { '“' }),
                    '«' => Some('»'),
                    _ => None,
                };
                if closing.is_none() {
                    kept.push(c);
                }
            }
        }
        before = c;
    }
    // Nothing is a quotation that never ends, and a command's own content may be quoted.
    if closing.is_some() || !kept.contains('_') || starts_command(&out) {
        out
    } else {
        kept
    }
}

fn starts_command(text: &str) -> bool {
    let trimmed = text.trim_start();
    !trimmed.starts_with(['"', '“', '„', '«'])
        && sentences(trimmed)
            .first()
            .is_some_and(|first| command(&trimmed[first.clone()], "", true) != Intent::None)
}

/// Byte ranges of sentences, with their closing mark.
fn sentences(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let ends = match c {
            '\n' | '!' | '?' | '。' | '？' | '！' => true,
            '.' => chars.peek().is_none_or(|(_, next)| next.is_whitespace()),
            _ => false,
        };
        if ends {
            if !text[start..end].trim().is_empty() {
                out.push(start..end);
            }
            start = end;
        }
    }
    if !text[start..].trim().is_empty() {
        out.push(start..text.len());
    }
    out
}

fn command(sentence: &str, rest: &str, first: bool) -> Intent {
    for language in LANGUAGES {
        let found = command_in(language, sentence, rest, first);
        if found != Intent::None {
            return found;
        }
    }
    Intent::None
}

fn command_in(language: &Language, sentence: &str, rest: &str, first: bool) -> Intent {
    let plain = plain(sentence.trim_end());
    let question = plain.trim_end().ends_with('?');
    let (mut body, mut asked) = (plain.trim(), false);
    // "Hey, could you please …"
    'leads: loop {
        for (lead, asks) in language.leads {
            if let Some(after) = after_phrase(body, lead) {
                asked |= asks;
                body = after;
                continue 'leads;
            }
        }
        break;
    }
    // "Don't forget that…" comes before "forget", "don't remember" before "remember".
    for (phrases, remember) in [
        (language.remember_negated, true),
        (language.forget_negated, false),
        (language.remember, true),
        (language.forget, false),
    ] {
        for phrase in phrases {
            let Some(after) = after_phrase(body, phrase) else {
                continue;
            };
            if question && !asked {
                return Intent::None;
            }
            let original = last_chars(sentence.trim_end(), after.chars().count());
            let found = content(language, after, original, rest, first, remember, asked);
            if found != Intent::None {
                return found;
            }
        }
    }
    Intent::None
}

/// What follows a phrase at the beginning of `text`, if the phrase ends there as a word.
fn after_phrase<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let after = text.strip_prefix(phrase)?;
    let ends = phrase.ends_with(['\'', ' '])
        || after
            .chars()
            .next()
            .is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '\'' | '-'));
    ends.then(|| after.trim_start_matches([' ', ',', '!', '\t']))
}

/// The end of a text, of so many characters.
fn last_chars(text: &str, count: usize) -> &str {
    let from = text.chars().count().saturating_sub(count);
    text.char_indices().nth(from).map_or("", |(at, _)| &text[at..])
}

/// Lower case with plain apostrophes, character for character as long as the original so that places can be carried over.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let c = if c == '\u{2019}' { '\'' } else { c };
            let mut lower = c.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(only), None) => vec![only],
                _ => vec![c],
            }
        })
        .collect()
}

fn content(
    language: &Language,
    after: &str,
    original: &str,
    rest: &str,
    first: bool,
    remember: bool,
    asked: bool,
) -> Intent {
    let mut source = original.trim_start_matches([' ', ':', ',', '-', '–', '—', '\t']);
    let mut after = after.trim_start_matches([' ', ':', ',', '-', '–', '—', '\t']);
    let introduces = language.introduces.iter().any(|word| {
        after_phrase(after, word)
            .is_some_and(|rest| rest.trim_matches([' ', ':', '.', '!', '\n', '-']).is_empty())
    });
    if remember && (introduces || after.trim_matches(['.', ' ', '!', '\n', ':']).is_empty()) {
        // "Remember this: …" goes on in what follows.
        let following = rest.trim();
        let whole = following.trim_end_matches(['.', '!', ' ', '\n']);
        return if whole.is_empty() || after.trim().is_empty() && !introduces {
            Intent::None
        } else {
            Intent::Remember(whole.to_owned())
        };
    }
    for word in language.fillers {
        if let Some(next) = after_phrase(after, word) {
            source = last_chars(source, next.chars().count()).trim_start_matches([' ', ':', ',']);
            after = next.trim_start_matches([' ', ':', ',']);
            break;
        }
    }
    let words: Vec<&str> = after
        .split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '-'))
        .filter(|word| !word.is_empty())
        .collect();
    let Some(begin) = words.first() else {
        return Intent::None;
    };
    let own = words.iter().any(|word| language.own.contains(word));
    let tidy = source
        .trim()
        .trim_end_matches(['.', '!', '?', ' ', ',', '。'])
        .to_owned();
    if remember {
        let queries = language.questions.contains(begin);
        let states = own || words.iter().any(|word| language.states.contains(word));
        if queries || !states || (!first && !own && !asked) {
            return Intent::None;
        }
        Intent::Remember(tidy)
    } else {
        let idiom = language.idioms.iter().any(|idiom| {
            after_phrase(after, idiom).is_some_and(|rest| {
                rest.trim_matches(['.', '!', '?', ' ', ',', '\n']).is_empty() || rest.starts_with(['.', ','])
            })
        });
        // What is to be forgotten is named shortly.
        if idiom || words.len() > 30 || (!first && !own && words.len() > 6) {
            return Intent::None;
        }
        Intent::Forget(tidy)
    }
}

#[cfg(test)]
mod tests;
