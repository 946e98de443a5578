//! Words as ranking counts them: lower case, without inflection, by the algorithm of M. F. Porter, "An algorithm for
//! suffix stripping" (1980).

use unicode_normalization::UnicodeNormalization;

/// The words of a text as stems, in order. Runs of letters and digits; an `'s` at the end of one is dropped, marks on
/// letters too. Where scripts write no spaces, every two neighbouring characters are a word.
pub fn stems(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(stem(word)));
    words
}

/// Calls `with` for every word of the text, in lower case and not stemmed.
pub(super) fn each_word(text: &str, mut with: impl FnMut(&str)) {
    let mut word = String::new();
    let mut run: Option<char> = None;
    let mut lone = false;
    let mut characters = text.chars().peekable();
    let mut finish = |word: &mut String| {
        if !word.is_empty() {
            with(word);
            word.clear();
        }
    };
    while let Some(raw) = characters.next() {
        if raw.is_ascii() {
            end_run(&mut run, &mut lone, &mut word, &mut finish);
            if raw.is_ascii_alphanumeric() {
                word.push(raw.to_ascii_lowercase());
            } else {
                let possessive = raw == '\'' && !word.is_empty() && is_possessive(&mut characters);
                finish(&mut word);
                if possessive {
                    characters.next();
                }
            }
            continue;
        }
        if raw == '’' {
            let possessive = !word.is_empty() && is_possessive(&mut characters);
            finish(&mut word);
            if possessive {
                characters.next();
            }
            continue;
        }
        if spaceless(raw) {
            if run.is_none() {
                finish(&mut word);
            }
            if let Some(before) = run {
                word.push(before);
                word.push(raw);
                finish(&mut word);
                lone = false;
            } else {
                lone = true;
            }
            run = Some(raw);
            continue;
        }
        end_run(&mut run, &mut lone, &mut word, &mut finish);
        if raw.is_alphanumeric() || unicode_normalization::char::is_combining_mark(raw) {
            for c in raw
                .nfd()
                .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
            {
                word.extend(c.to_lowercase());
            }
        } else {
            finish(&mut word);
        }
    }
    end_run(&mut run, &mut lone, &mut word, &mut finish);
    finish(&mut word);
}

/// A single character of a script without spaces is a word of its own.
fn end_run(run: &mut Option<char>, lone: &mut bool, word: &mut String, finish: &mut impl FnMut(&mut String)) {
    if let Some(last) = run.take()
        && std::mem::take(lone)
    {
        word.push(last);
        finish(word);
    }
}

/// Whether an `s` comes next and ends the word.
fn is_possessive(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let mut ahead = characters.clone();
    matches!(ahead.next(), Some('s' | 'S')) && !ahead.next().is_some_and(char::is_alphanumeric)
}

/// Han, kana and the scripts of mainland South-East Asia; Korean, whose words carry their particles.
fn spaceless(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1100}'..='\u{11FF}' | '\u{1780}'..='\u{17FF}'
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// English words that say too little to be looked for.
pub fn is_stop_word(word: &str) -> bool {
    const STOP_WORDS: &[&str] = &[
        "a", "about", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but",
        "by", "can", "could", "d", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her",
        "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "may",
        "me", "might", "my", "no", "not", "of", "on", "or", "our", "re", "s", "shall", "she", "should", "so",
        "some", "t", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
        "those", "to", "us", "ve", "was", "we", "were", "what", "when", "where", "which", "who", "whom",
        "whose", "why", "will", "with", "would", "you", "your",
    ];
    STOP_WORDS.binary_search(&word).is_ok()
}

/// A word's stem. Only words of three or more letters a to z are changed.
pub(super) fn stem(word: &str) -> String {
    if word.len() < 3 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return word.to_owned();
    }
    let mut word = Word(word.as_bytes().to_vec());
    word.plural();
    word.past();
    if word.ends(b"y") && word.has_vowel(word.0.len() - 1) {
        *word.0.last_mut().expect("a word is not empty") = b'i';
    }
    word.longest(&[
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("abli", "able"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
    ]);
    word.longest(&[
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ]);
    word.bare();
    word.tidy();
    String::from_utf8(word.0).unwrap_or_default()
}

struct Word(Vec<u8>);

impl Word {
    fn ends(&self, suffix: &[u8]) -> bool {
        self.0.ends_with(suffix)
    }

    fn consonant(&self, at: usize) -> bool {
        match self.0[at] {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => at == 0 || !self.consonant(at - 1),
            _ => true,
        }
    }

    /// How many times consonants follow vowels in the first `end` letters: Porter's m.
    fn measure(&self, end: usize) -> usize {
        (1..end)
            .filter(|at| self.consonant(*at) && !self.consonant(at - 1))
            .count()
    }

    fn has_vowel(&self, end: usize) -> bool {
        (0..end).any(|at| !self.consonant(at))
    }

    fn doubled(&self) -> bool {
        let length = self.0.len();
        length >= 2 && self.0[length - 1] == self.0[length - 2] && self.consonant(length - 1)
    }

    /// Consonant, vowel, consonant at `end`, the last not w, x or y: a short syllable.
    fn short(&self, end: usize) -> bool {
        end >= 3
            && self.consonant(end - 1)
            && !self.consonant(end - 2)
            && self.consonant(end - 3)
            && !matches!(self.0[end - 1], b'w' | b'x' | b'y')
    }

    fn cut(&mut self, letters: usize) {
        self.0.truncate(self.0.len() - letters);
    }

    fn plural(&mut self) {
        if self.ends(b"sses") || self.ends(b"ies") {
            self.cut(2);
        } else if self.ends(b"s") && !self.ends(b"ss") {
            self.cut(1);
        }
    }

    fn past(&mut self) {
        if self.ends(b"eed") {
            if self.measure(self.0.len() - 3) > 0 {
                self.cut(1);
            }
            return;
        }
        let suffix = if self.ends(b"ed") {
            2
        } else if self.ends(b"ing") {
            3
        } else {
            return;
        };
        if !self.has_vowel(self.0.len() - suffix) {
            return;
        }
        self.cut(suffix);
        if self.ends(b"at") || self.ends(b"bl") || self.ends(b"iz") {
            self.0.push(b'e');
        } else if self.doubled() && !matches!(self.0.last(), Some(b'l' | b's' | b'z')) {
            self.cut(1);
        } else if self.measure(self.0.len()) == 1 && self.short(self.0.len()) {
            self.0.push(b'e');
        }
    }

    /// Replaces the longest of the suffixes that is there, where something is left before it.
    fn longest(&mut self, rules: &[(&str, &str)]) {
        let found = rules
            .iter()
            .filter(|(suffix, _)| self.ends(suffix.as_bytes()))
            .max_by_key(|(suffix, _)| suffix.len());
        if let Some((suffix, by)) = found {
            let rest = self.0.len() - suffix.len();
            if self.measure(rest) > 0 {
                self.0.truncate(rest);
                self.0.extend(by.bytes());
            }
        }
    }

    fn bare(&mut self) {
        const SUFFIXES: &[&str] = &[
            "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
            "ism", "ate", "iti", "ous", "ive", "ize",
        ];
        let found = SUFFIXES
            .iter()
            .filter(|suffix| self.ends(suffix.as_bytes()))
            .max_by_key(|suffix| suffix.len());
        if let Some(suffix) = found {
            let rest = self.0.len() - suffix.len();
            let after = *suffix != "ion" || (rest > 0 && matches!(self.0[rest - 1], b's' | b't'));
            if after && self.measure(rest) > 1 {
                self.0.truncate(rest);
            }
        }
    }

    fn tidy(&mut self) {
        if self.ends(b"e") {
            let rest = self.0.len() - 1;
            let measure = self.measure(rest);
            if measure > 1 || (measure == 1 && !self.short(rest)) {
                self.cut(1);
            }
        }
        if self.ends(b"ll") && self.measure(self.0.len() - 1) > 1 {
            self.cut(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(stems(text), expected, "{text}");
    }

    #[test]
    fn inflections_fall_together() {
        // From the examples of Porter's paper.
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("cats", "cat"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("hoping", "hope"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("vietnamization", "vietnam"),
            ("triplicate", "triplic"),
            ("hopefulness", "hope"),
            ("electrical", "electr"),
            ("adoption", "adopt"),
            ("replacement", "replac"),
            ("probate", "probat"),
            ("controll", "control"),
            ("roll", "roll"),
            ("is", "is"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn texts_of_all_kinds_have_words() {
        check(
            "The dog's 2 bones, isn't it?",
            &["the", "dog", "2", "bone", "isn", "t", "it"],
        );
        check("Ella’s café in ZÜRICH", &["ella", "cafe", "in", "zurich"]);
        check("我喜欢 ok 火", &["我喜", "喜欢", "ok", "火"]);
        check("GPT模型は", &["gpt", "模型", "型は"]);
        check("привет мир", &["привет", "мир"]);
        check("🦀 --- ''", &[]);
        check("'s", &["s"]);
    }

    #[test]
    fn stop_words_are_sorted_and_found() {
        for word in ["a", "your", "may", "isn"] {
            assert_eq!(is_stop_word(word), word != "isn", "{word}");
        }
    }
}
