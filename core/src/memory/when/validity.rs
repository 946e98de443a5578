//! Since when and until when a statement says that it holds.

use super::{Span, when};

/// When a fact held, as far as its own words say so: "since 2019", "until June 2027", "in May 2023". `event`: whether it
/// happened rather than holds; then a date is when. `at_ms` is when it was said.
///
/// What says no year is believed of the past alone: "since March" is the last March, "until March" may be any.
pub fn validity(text: &str, event: bool, at_ms: i64) -> (Option<i64>, Option<i64>) {
    let found = when(text, at_ms);
    let (mut from_ms, mut to_ms) = (None, None);
    for expression in &found.expressions {
        let words = text[expression.clone()].to_lowercase();
        let Some(span) = single(&words, at_ms) else {
            continue;
        };
        let dated = words
            .split(|c: char| !c.is_ascii_digit())
            .any(|digits| digits.len() == 4);
        match words.split_whitespace().next() {
            Some("since") => from_ms = from_ms.or(Some(span.from_ms)),
            Some("until" | "till") if dated => to_ms = to_ms.or(Some(span.to_ms)),
            Some("until" | "till" | "before" | "after") => {}
            _ if event && (dated || span.to_ms <= at_ms) && from_ms.is_none() => {
                (from_ms, to_ms) = (Some(span.from_ms), Some(span.to_ms));
            }
            _ => {}
        }
    }
    match (from_ms, to_ms) {
        (Some(from), Some(to)) if from >= to => (None, None),
        times => times,
    }
}

/// The one stretch of time that an expression names; of a date without a year, the last.
fn single(words: &str, at_ms: i64) -> Option<Span> {
    when(words, at_ms).spans.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::when::{Calendar, iso};

    /// 2026-11-22, noon.
    const NOW: i64 = 1_795_348_800_000;

    fn day(text: &str) -> i64 {
        Calendar::day(iso(text).unwrap()).unwrap().from_ms
    }

    #[test]
    fn what_a_statement_says_of_its_own_time() {
        let check = |text, event, from: Option<&str>, to: Option<&str>| {
            assert_eq!(validity(text, event, NOW), (from.map(day), to.map(day)), "{text}");
        };
        check("Has lived in Lyon since 2019", false, Some("2019-01-01"), None);
        check(
            "Has been a vegetarian since March",
            false,
            Some("2026-03-01"),
            None,
        );
        check("Lived in Oslo until June 2021", false, None, Some("2021-07-01"));
        check("Works from home until March", false, None, None);
        check(
            "Ran a marathon in May 2023",
            true,
            Some("2023-05-01"),
            Some("2023-06-01"),
        );
        check("Likes the photos taken in May 2023", false, None, None);
        check(
            "Broke an arm yesterday",
            true,
            Some("2026-11-21"),
            Some("2026-11-22"),
        );
        check("Prefers trains to planes", false, None, None);
        check("Rented a flat since 2022 until 2019", false, None, None);
    }
}
