//! The merge loop that both tokenizers share.
//!
//! Neighbouring symbols are merged, the best pair first, until no pair can be. With a heap of
//! candidates and a linked list of symbols a word of n symbols takes O(n log n): a page of Chinese is
//! one word, and so is any run of a million letters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Stands for a symbol that is no token by itself.
pub(super) const NO_TOKEN: u32 = u32::MAX;
const NO_SYMBOL: u32 = u32::MAX;

/// A run of bytes of the word that is merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) start: u32,
    /// Zero for a symbol that was merged into the one before.
    pub(super) length: u32,
    /// The token it is, or [`NO_TOKEN`].
    pub(super) id: u32,
    previous: u32,
    next: u32,
}

impl Symbol {
    pub(super) fn bytes<'a>(&self, word: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        word.get(start..start + self.length as usize).unwrap_or_default()
    }
}

/// A merge that is allowed. Lower priorities come first; among equals the leftmost does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge {
    pub(super) priority: u32,
    pub(super) id: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    priority: u32,
    left: u32,
    right: u32,
    /// Both symbols' bytes when the candidate was found: another sum means it is outdated.
    length: u32,
    id: u32,
}

/// Scratch space, kept from word to word.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    candidates: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.candidates.clear();
    }

    /// Appends a symbol to the word.
    pub(super) fn push(&mut self, start: u32, length: u32, id: u32) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let previous = index.checked_sub(1).unwrap_or(NO_SYMBOL);
        self.symbols.push(Symbol {
            start,
            length,
            id,
            previous,
            next: NO_SYMBOL,
        });
    }

    /// Merges until `rules` allows nothing more, then hands over the symbols that are left, in order.
    pub(super) fn run(
        &mut self,
        rules: impl Fn(&Symbol, &Symbol) -> Option<Merge>,
        mut emit: impl FnMut(&Symbol),
    ) {
        for right in 1..self.symbols.len() as u32 {
            self.consider(right - 1, right, &rules);
        }
        while let Some(Reverse(candidate)) = self.candidates.pop() {
            let Candidate {
                left,
                right,
                length,
                id,
                ..
            } = candidate;
            let (left_symbol, right_symbol) = (self.symbols[left as usize], self.symbols[right as usize]);
            let alive = left_symbol.length > 0 && right_symbol.length > 0;
            if !alive || left_symbol.length + right_symbol.length != length {
                continue;
            }
            let next = right_symbol.next;
            self.symbols[right as usize].length = 0;
            let merged = &mut self.symbols[left as usize];
            merged.length = length;
            merged.id = id;
            merged.next = next;
            if next != NO_SYMBOL {
                self.symbols[next as usize].previous = left;
                self.consider(left, next, &rules);
            }
            if left_symbol.previous != NO_SYMBOL {
                self.consider(left_symbol.previous, left, &rules);
            }
        }
        self.symbols
            .iter()
            .filter(|symbol| symbol.length > 0)
            .for_each(&mut emit);
    }

    fn consider(&mut self, left: u32, right: u32, rules: &impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        let (left_symbol, right_symbol) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some(Merge { priority, id }) = rules(left_symbol, right_symbol) {
            let length = left_symbol.length + right_symbol.length;
            self.candidates.push(Reverse(Candidate {
                priority,
                left,
                right,
                length,
                id,
            }));
        }
    }
}

/// Cuts text into parts whose positions fit the merge loop's 32-bit fields.
pub(super) fn bounded_parts(text: &str) -> impl Iterator<Item = &str> {
    const LIMIT: usize = 1 << 30;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, after) = rest.split_at(rest.floor_char_boundary(LIMIT));
        rest = after;
        Some(part)
    })
}
