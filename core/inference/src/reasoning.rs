//! Keeps a model's thinking apart from its answer while both stream.
//!
//! Models trained to think write `<think>…</think>` before the answer; some chat templates already
//! open the block at the end of the prompt, so that only its end is seen. A block counts only at
//! the beginning of the reply: a tag quoted later is text.

use crate::text_stream::overlap;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// One piece of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Part of the thinking.
    Reasoning(String),
    /// Part of the answer.
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Only white space has been seen.
    Start,
    /// Inside the block; `true` before anything but white space was seen in it.
    Thinking(bool),
    /// After the block, before the answer's first character: white space is dropped.
    Between,
    /// The rest is the answer.
    Answer,
}

/// Splits a reply into thinking and answer.
#[derive(Debug, Clone)]
pub struct ReasoningSplitter {
    state: State,
    /// Text that may be the beginning of a tag, or white space that may turn out to be trimmed.
    held: String,
}

impl ReasoningSplitter {
    /// For models that think: `opened` says that the prompt already opened the block.
    pub fn new(opened: bool) -> Self {
        let state = if opened {
            State::Thinking(true)
        } else {
            State::Start
        };
        Self {
            state,
            held: String::new(),
        }
    }

    /// Lets everything through as answer.
    pub fn off() -> Self {
        Self {
            state: State::Answer,
            held: String::new(),
        }
    }

    /// Whether a token's bytes are one of the tags, which count even where the vocabulary calls them control.
    pub(crate) fn is_tag(bytes: &[u8]) -> bool {
        bytes == OPEN.as_bytes() || bytes == CLOSE.as_bytes()
    }

    /// Whether the end of `prompt` leaves a block open.
    pub fn opened_by(prompt: &str) -> bool {
        prompt.trim_end().ends_with(OPEN)
    }

    /// Whether what comes now is the answer and no longer thinking: where a demanded form starts.
    pub fn is_answering(&self) -> bool {
        matches!(self.state, State::Answer | State::Between)
    }

    /// Adds text; returns what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Ends the reply: what was held back comes out.
    pub fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        let piece = match self.state {
            State::Thinking(_) => Piece::Reasoning(rest.trim_end().to_string()),
            State::Between => Piece::Text(rest.trim_start().to_string()),
            State::Start | State::Answer => Piece::Text(rest),
        };
        match &piece {
            Piece::Reasoning(text) | Piece::Text(text) if text.is_empty() => Vec::new(),
            _ => vec![piece],
        }
    }

    /// One change of state or release of text; false when more input is needed.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match self.state {
            State::Start => {
                let trimmed = self.held.trim_start();
                if let Some(rest) = trimmed.strip_prefix(OPEN) {
                    self.held = rest.to_string();
                    self.state = State::Thinking(true);
                    return true;
                }
                if OPEN.starts_with(trimmed) {
                    return false;
                }
                self.state = State::Answer;
                true
            }
            State::Thinking(at_start) => {
                if at_start {
                    let trimmed = self.held.trim_start();
                    if trimmed.is_empty() {
                        self.held.clear();
                        return false;
                    }
                    self.held = trimmed.to_string();
                    self.state = State::Thinking(false);
                }
                if let Some(at) = self.held.find(CLOSE) {
                    let thought = self.held[..at].trim_end().to_string();
                    if !thought.is_empty() {
                        pieces.push(Piece::Reasoning(thought));
                    }
                    self.held.drain(..at + CLOSE.len());
                    self.state = State::Between;
                    return true;
                }
                // Hold a possible tag and the white space before it, which would be trimmed.
                let keep = overlap(&self.held, CLOSE);
                let certain = self.held[..self.held.len() - keep].trim_end().len();
                let rest = self.held.split_off(certain);
                let thought = std::mem::replace(&mut self.held, rest);
                if !thought.is_empty() {
                    pieces.push(Piece::Reasoning(thought));
                }
                false
            }
            State::Between => {
                let trimmed = self.held.trim_start();
                if trimmed.is_empty() {
                    self.held.clear();
                    return false;
                }
                self.held = trimmed.to_string();
                self.state = State::Answer;
                true
            }
            State::Answer => {
                if !self.held.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&str], opened: bool) -> (String, String) {
        let mut splitter = ReasoningSplitter::new(opened);
        let mut pieces: Vec<Piece> = chunks.iter().flat_map(|c| splitter.push(c)).collect();
        pieces.extend(splitter.finish());
        let (mut reasoning, mut text) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Reasoning(part) => {
                    assert!(text.is_empty(), "thinking after the answer began");
                    reasoning.push_str(&part);
                }
                Piece::Text(part) => text.push_str(&part),
            }
        }
        (reasoning, text)
    }

    #[track_caller]
    fn check(reply: &str, opened: bool, reasoning: &str, text: &str) {
        let by_char: Vec<String> = reply.chars().map(String::from).collect();
        let by_char: Vec<&str> = by_char.iter().map(String::as_str).collect();
        for chunks in [&[reply][..], &by_char[..]] {
            assert_eq!(split(chunks, opened), (reasoning.to_string(), text.to_string()));
        }
    }

    #[test]
    fn a_block_at_the_start_is_thinking() {
        check(
            "<think>\nhm, 2 < 3\n</think>\n\nFour.",
            false,
            "hm, 2 < 3",
            "Four.",
        );
        check("\n <think></think>Four.", false, "", "Four.");
    }

    #[test]
    fn a_block_the_prompt_opened_is_thinking() {
        check("\nhm\n</think>\n\nFour.", true, "hm", "Four.");
        assert!(ReasoningSplitter::opened_by("<|im_start|>assistant\n<think>\n"));
        assert!(!ReasoningSplitter::opened_by("<think>\n\n</think>\n\n"));
    }

    #[test]
    fn text_without_a_block_stays_as_it_is() {
        check(" Four <think>no</think>", false, "", " Four <think>no</think>");
        check("<thin ice", false, "", "<thin ice");
        check("  ", false, "", "  ");
        check("", false, "", "");
    }

    #[test]
    fn a_block_cut_short_is_all_thinking() {
        check("<think>well </thi", false, "well </thi", "");
        check("<think>well \n", false, "well", "");
    }

    #[test]
    fn the_answer_may_name_the_tags() {
        check(
            "<think>a</think>use </think> and <think>",
            false,
            "a",
            "use </think> and <think>",
        );
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            reply in "( |\n|<think>|</think>|<|a|b){0,12}",
            step in 1usize..4,
            opened: bool,
        ) {
            let chars: Vec<char> = reply.chars().collect();
            let chunks: Vec<String> = chars.chunks(step).map(|c| c.iter().collect()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(split(&chunks, opened), split(&[&reply], opened));
        }
    }
}
