//! Words that look alike: two names that differ by a letter are two names.
//!
//! Nobody can tell "Ine" from a mistyped "Ines", and to take two people (or pets) for one loses one of them, while keeping
//! one twice costs a line. So names are never taken for misspelt; words of everyday are, where the lists know one of the
//! two ("alergic"), and so are the spellings of both shores ("colour", "organize").

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::claims::{Claim, Parsed, is_content};
use super::words::{LEXICON, Word};

/// Shorter words that differ by a letter are two words: "cat" and "car".
const SHORTEST_TYPO: usize = 5;
/// From so many letters on two of them may differ.
const LONG: usize = 8;

/// Whether both statements have a name of one lemma that is spelt otherwise: "Jones" and "Jone".
pub(super) fn other_names(a: &Parsed, b: &Parsed) -> bool {
    clash(&names(a), &names(b))
}

/// The same for names with their lemmas.
pub(super) fn clash(a: &[(String, String)], b: &[(String, String)]) -> bool {
    a.iter().any(|(lemma, name)| {
        let mut others = b.iter().filter(|(other, _)| other == lemma).peekable();
        others.peek().is_some() && others.all(|(_, other)| plain(other) != plain(name))
    })
}

fn names(parsed: &Parsed) -> Vec<(String, String)> {
    let named = parsed.words.iter().filter(|word| word.named && is_content(word));
    named
        .map(|word| (word.lemma.clone(), word.lower.clone()))
        .collect()
}

/// Whether each has a word that the other lacks and that differs from one of the other's by a letter or two, and is no
/// other spelling of it.
pub(super) fn nearly_alike(a: &Parsed, b: &Parsed) -> bool {
    let only = |of: &Parsed, other: &Parsed| -> Vec<Word> {
        let known = |word: &Word| other.words.iter().any(|it| it.lemma == word.lemma);
        let own = of.words.iter().filter(|word| is_content(word) && !known(word));
        own.cloned().collect()
    };
    let (first, second) = (only(a, b), only(b, a));
    first.iter().any(|x| {
        second
            .iter()
            .any(|y| looks_like(&x.lower, &y.lower) && !is_variant(x, y))
    })
}

/// Whether the statements are about two whose names look alike.
pub(super) fn other_subjects(a: &Parsed, b: &Parsed) -> bool {
    let about = |parsed: &Parsed| -> Vec<Word> {
        // Of a statement whose verb is not known the first word is the key.
        let of = |claim: &Claim, lemma: &String| {
            claim.subject.contains(lemma) || claim.slot.is_empty() && claim.key.contains(lemma)
        };
        let is_subject = |word: &&Word| parsed.claims.iter().any(|claim| of(claim, &word.lemma));
        parsed.words.iter().filter(is_subject).cloned().collect()
    };
    let (first, second) = (about(a), about(b));
    let alike =
        |x: &Word, y: &Word| looks_like(&x.lower, &y.lower) && !is_variant(x, y) && x.lemma != y.lemma;
    first.iter().any(|x| second.iter().any(|y| alike(x, y)))
}

/// Whether two words differ by one letter, or, long, by two: put in, left out, another, or two swapped.
fn looks_like(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (plain(a).chars().collect(), plain(b).chars().collect());
    let most = if a.len().min(b.len()) < LONG { 1 } else { 2 };
    a != b && a.len().abs_diff(b.len()) <= most && distance(&a, &b) <= most
}

/// F. J. Damerau, "A technique for computer detection and correction of spelling errors" (1964), of short words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let put = rows[i][j - 1].min(rows[i - 1][j]) + 1;
                let other = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                put.min(other).min(swapped)
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Whether one is the other, spelt in another way or mistyped.
fn is_variant(a: &Word, b: &Word) -> bool {
    if a.named || b.named {
        return plain(&a.lower) == plain(&b.lower);
    }
    let long = a.lower.chars().count().min(b.lower.chars().count()) >= SHORTEST_TYPO;
    shore(&a.lower) == shore(&b.lower) || long && LEXICON.knows(a) != LEXICON.knows(b)
}

/// Without marks on letters, which not every keyboard has.
fn plain(word: &str) -> String {
    word.nfd().filter(|c| !is_combining_mark(*c)).collect()
}

/// British and American spellings fall together.
fn shore(word: &str) -> String {
    const PAIRS: [(&str, &str); 9] = [
        ("isation", "ization"),
        ("ise", "ize"),
        ("ising", "izing"),
        ("yse", "yze"),
        ("our", "or"),
        ("ogue", "og"),
        ("tre", "ter"),
        ("grey", "gray"),
        ("ll", "l"),
    ];
    PAIRS
        .iter()
        .fold(plain(word), |word, (here, there)| word.replace(here, there))
}

#[cfg(test)]
mod tests {
    use super::super::claims::parse;
    use super::*;

    #[test]
    fn names_that_look_alike_are_two() {
        for (a, b) in [
            ("My dog is called quokkaon", "My dog is called quokkaun"),
            ("quokkaon barks at night", "quokkaun barks at night"),
            ("Quokkaon barks at night", "Quokkaun barks at night"),
            ("My friend Lena moved to Oslo", "My friend Lana moved to Oslo"),
            ("I met marco at the gym", "I met marko at the gym"),
            ("My car is black", "My cat is black"),
            ("My cousin is called katharina", "My cousin is called katarina"),
            ("I use the app notiv for lists", "I use the app notix for lists"),
        ] {
            assert!(
                nearly_alike(&parse(a), &parse(b)) || other_names(&parse(a), &parse(b)),
                "{a} / {b}"
            );
        }
    }

    #[test]
    fn what_is_only_spelt_otherwise_is_one() {
        for (a, b) in [
            ("I am alergic to peanuts", "I am allergic to peanuts"),
            ("My favourite colour is grey", "My favorite color is gray"),
            ("I organise the travelling", "I organize the traveling"),
            ("My sister Lea is tall", "My sister Léa is tall"),
            ("I have two dogs", "I have two dogs"),
            ("Likes hiking", "Loves hiking"),
        ] {
            assert!(!nearly_alike(&parse(a), &parse(b)), "{a} / {b}");
            assert!(!other_names(&parse(a), &parse(b)), "{a} / {b}");
        }
    }

    #[test]
    fn names_with_one_lemma_are_told_apart() {
        for (a, b) in [
            ("My sister is called Ine", "My sister is called Ines"),
            ("My boss is called Jones", "My boss is called Jon"),
            ("Ines is my wife", "Ine is my wife"),
        ] {
            assert!(other_names(&parse(a), &parse(b)), "{a} / {b}");
        }
        for (a, b) in [
            ("My sister is called ines", "My sister is called Ines"),
            ("Trains are fine", "Train rides are fine"),
            ("Works for Miller", "Works for Miller's"),
        ] {
            assert!(!other_names(&parse(a), &parse(b)), "{a} / {b}");
        }
    }

    #[test]
    fn letters_are_counted() {
        let far = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(
            (
                far("", "ab"),
                far("abc", "acb"),
                far("abc", "abd"),
                far("abc", "ab")
            ),
            (2, 1, 1, 1)
        );
        assert_eq!(far("kitten", "sitting"), 3);
    }
}
