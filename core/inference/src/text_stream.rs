//! Bytes in, text out, while they arrive.
//!
//! Tokens end anywhere: inside a character, inside a stop string. What leaves here is always whole
//! characters, and never a part of what might still become a stop string. Bytes that can't be
//! UTF-8 become U+FFFD, as `String::from_utf8_lossy` would have made them.

/// What one push, or the end, let through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// New text, possibly empty.
    pub text: String,
    /// A stop string was found: everything before it has been delivered, nothing follows.
    pub stopped: bool,
}

/// Turns a stream of token bytes into text deltas.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    /// Bytes that may be the beginning of a character: at most 3.
    partial: Vec<u8>,
    /// Text held back because it may be the beginning of a stop string.
    held: String,
    stops: Vec<String>,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stops`; empty strings are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|s| !s.is_empty()).collect(),
            ..Self::default()
        }
    }

    /// Adds a token's bytes. After a stop nothing is taken or given any more.
    pub fn push(&mut self, bytes: &[u8]) -> Delta {
        if self.stopped {
            return Delta {
                text: String::new(),
                stopped: true,
            };
        }
        self.partial.extend_from_slice(bytes);
        let whole = drain_characters(&mut self.partial, &mut self.held);
        debug_assert!(self.partial.len() < 4);
        if whole == 0 {
            return Delta::default();
        }
        self.release()
    }

    /// Ends the stream: what was held back comes out, an unfinished character as U+FFFD.
    pub fn finish(&mut self) -> Delta {
        if self.stopped {
            return Delta {
                text: String::new(),
                stopped: true,
            };
        }
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        let mut delta = self.release();
        if !delta.stopped {
            delta.text.push_str(&std::mem::take(&mut self.held));
        }
        delta
    }

    /// Whether a stop string was found.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Lets out what can no longer be part of a stop string.
    fn release(&mut self) -> Delta {
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return Delta {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Delta {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }
}

/// The length in bytes of the longest end of `text` that is a beginning of `stop`, and shorter
/// than it.
pub(crate) fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&len| stop.is_char_boundary(len) && text.as_bytes().ends_with(&stop.as_bytes()[..len]))
        .unwrap_or(0)
}

/// Moves whole characters from `bytes` to `text`, leaving at most an unfinished one; returns how
/// many bytes were taken.
fn drain_characters(bytes: &mut Vec<u8>, text: &mut String) -> usize {
    let mut taken = 0;
    loop {
        match std::str::from_utf8(&bytes[taken..]) {
            Ok(rest) => {
                text.push_str(rest);
                taken = bytes.len();
                break;
            }
            Err(error) => {
                let valid = taken + error.valid_up_to();
                if let Ok(rest) = std::str::from_utf8(&bytes[taken..valid]) {
                    text.push_str(rest);
                }
                taken = valid;
                match error.error_len() {
                    Some(len) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        taken += len;
                    }
                    None => break,
                }
            }
        }
    }
    bytes.drain(..taken);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(chunks: &[&[u8]], stops: &[&str]) -> (Vec<String>, bool) {
        let mut stream = TextStream::new(stops.iter().map(ToString::to_string));
        let mut out: Vec<String> = chunks.iter().map(|c| stream.push(c).text).collect();
        out.push(stream.finish().text);
        (out, stream.is_stopped())
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let (out, _) = run(&[b"a\xf0\x9f", b"\x94", b"\xa5b"], &[]);
        assert_eq!(out, ["a", "", "🔥b", ""]);
    }

    #[test]
    fn an_unfinished_or_impossible_character_becomes_a_replacement() {
        assert_eq!(run(&[b"x\xe2\x82"], &[]).0.concat(), "x\u{fffd}");
        assert_eq!(run(&[b"x\xff", b"y\x80z"], &[]).0.concat(), "x\u{fffd}y\u{fffd}z");
        assert_eq!(run(&[b"\xf0\x9f", b"a"], &[]).0.concat(), "\u{fffd}a");
    }

    #[test]
    fn a_stop_string_across_chunks_is_never_shown() {
        let (out, stopped) = run(&[b"Hello <|", b"en", b"d|> more"], &["<|end|>"]);
        assert_eq!(out, ["Hello ", "", "", ""]);
        assert!(stopped);
    }

    #[test]
    fn what_looked_like_a_stop_string_comes_out_late_but_whole() {
        let (out, stopped) = run(&[b"a<|", b"e", b"x"], &["<|end|>"]);
        assert_eq!(out, ["a", "", "<|ex", ""]);
        assert!(!stopped);
        assert_eq!(run(&[b"tail <|en"], &["<|end|>"]).0, ["tail ", "<|en"]);
    }

    #[test]
    fn the_earliest_stop_wins_and_self_overlap_is_found() {
        assert_eq!(run(&[b"one b a"], &["a", "b"]).0.concat(), "one ");
        assert_eq!(run(&[b"aaa", b"ab"], &["aab"]).0.concat(), "aa");
        assert_eq!(
            run(&["né".as_bytes(), "\u{301}".as_bytes()], &["é\u{301}"])
                .0
                .concat(),
            "n"
        );
    }

    #[test]
    fn nothing_follows_a_stop() {
        let mut stream = TextStream::new(["!".to_string()]);
        assert_eq!(stream.push(b"a!b").text, "a");
        assert_eq!(
            stream.push(b"c"),
            Delta {
                text: String::new(),
                stopped: true
            }
        );
        assert_eq!(stream.finish().text, "");
    }

    /// What the stream must amount to, computed on the whole.
    fn whole(bytes: &[u8], stops: &[String]) -> String {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let cut = stops
            .iter()
            .filter(|s| !s.is_empty())
            .filter_map(|s| text.find(s.as_str()));
        match cut.min() {
            Some(at) => text[..at].to_string(),
            None => text,
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_text(
            bytes in prop::collection::vec(prop_oneof![
                Just(b'a'), Just(b'b'), Just(0xf0), Just(0x9f), Just(0x94), Just(0xa5), any::<u8>()
            ], 0..60),
            cuts in prop::collection::vec(1usize..5, 0..60),
        ) {
            let mut stream = TextStream::new([]);
            let mut out = String::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().copied().chain(std::iter::repeat(3)) {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                out.push_str(&stream.push(head).text);
                rest = tail;
            }
            out.push_str(&stream.finish().text);
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes).into_owned());
        }

        #[test]
        fn stops_cut_streams_like_whole_texts(
            text in "[abé🔥]{0,40}",
            stops in prop::collection::vec("[abé🔥]{0,4}", 0..3),
            step in 1usize..5,
        ) {
            // A stream may only differ from the whole text where two stops compete at different
            // lengths: the one complete first wins. Compare with one stop, check safety with many.
            let first: Vec<String> = stops.iter().take(1).cloned().collect();
            let mut stream = TextStream::new(first.clone());
            let mut out = String::new();
            for chunk in text.as_bytes().chunks(step) {
                out.push_str(&stream.push(chunk).text);
            }
            out.push_str(&stream.finish().text);
            prop_assert_eq!(&out, &whole(text.as_bytes(), &first));

            let mut stream = TextStream::new(stops.clone());
            let mut out = String::new();
            for chunk in text.as_bytes().chunks(step) {
                out.push_str(&stream.push(chunk).text);
            }
            out.push_str(&stream.finish().text);
            for stop in stops.iter().filter(|s| !s.is_empty()) {
                prop_assert!(!out.contains(stop.as_str()));
            }
            prop_assert!(text.starts_with(&out));
        }
    }
}
