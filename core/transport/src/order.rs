//! The order in which batches are handed on.
//!
//! Every batch has a stream of its own, so a small one isn't held up by a large one of another log. But links of one log
//! only fit in order: a batch waits for those of its log that were sent before it, and for none else.

use std::collections::BTreeMap;

use hearth_protocol::codec::{DecodeError, Reader, Wire};
use hearth_protocol::id::LogId;

/// Bytes of a batch that tell which log it is of: tag, version, log.
pub(crate) const HEAD_BYTES: usize = 2 + LogId::LENGTH;

/// Which batches this one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Those of the same log.
    Log(LogId),
    /// Those that are out of their chains, too: a document's pieces come before what puts them together.
    Detached,
    /// None: it is garbage.
    Free,
}

/// The lane, by the first bytes of a batch; none if more are needed.
pub(crate) fn lane(start: &[u8]) -> Option<Lane> {
    let run = |reader: &mut Reader<'_>| -> Result<Lane, DecodeError> {
        match reader.byte()? {
            1 => {}
            2 => return Ok(Lane::Detached),
            _ => return Ok(Lane::Free),
        }
        reader.byte()?;
        LogId::read(reader).map(Lane::Log)
    };
    run(&mut Reader::new(start)).ok()
}

#[derive(Debug)]
struct Entry<T> {
    lane: Option<Lane>,
    done: Option<(Vec<u8>, T)>,
}

/// Batches that are being received, by the order in which they were sent; with each, once it is whole, what it holds.
#[derive(Debug)]
pub(crate) struct Order<T> {
    entries: BTreeMap<u64, Entry<T>>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<T> Order<T> {
    /// A stream was opened.
    pub(crate) fn open(&mut self, stream: u64) {
        self.entries.insert(
            stream,
            Entry {
                lane: None,
                done: None,
            },
        );
    }

    /// Its first bytes have come.
    pub(crate) fn lane_known(&mut self, stream: u64, lane: Lane) {
        if let Some(entry) = self.entries.get_mut(&stream) {
            entry.lane = Some(lane);
        }
    }

    /// All of it has come.
    pub(crate) fn done(&mut self, stream: u64, bytes: Vec<u8>, holds: T) {
        let lane = lane(&bytes).unwrap_or(Lane::Free);
        self.entries.insert(
            stream,
            Entry {
                lane: Some(lane),
                done: Some((bytes, holds)),
            },
        );
    }

    /// It was given up.
    pub(crate) fn give_up(&mut self, stream: u64) {
        self.entries.remove(&stream);
    }

    /// What may be handed on by now, in order.
    pub(crate) fn take(&mut self) -> Vec<(Vec<u8>, T)> {
        let mut blocked: Vec<Lane> = Vec::new();
        let mut ready = Vec::new();
        for (stream, entry) in &self.entries {
            match (&entry.lane, &entry.done) {
                // It may be of any log.
                (None, _) => break,
                (Some(lane), _) if blocked.contains(lane) => {}
                (Some(_), Some(_)) => ready.push(*stream),
                (Some(Lane::Free), None) => {}
                (Some(lane), None) => blocked.push(*lane),
            }
        }
        ready
            .into_iter()
            .filter_map(|stream| self.entries.remove(&stream)?.done)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(log: u8, text: u8) -> Vec<u8> {
        let mut bytes = vec![1, 1];
        bytes.extend([log; 16]);
        bytes.push(text);
        bytes
    }

    #[test]
    fn batches_of_one_log_keep_their_order_and_others_pass() {
        let mut order = Order::default();
        (0..4).for_each(|stream| order.open(stream));
        order.lane_known(0, lane(&run(7, 0)[..HEAD_BYTES]).unwrap());
        order.done(1, run(7, 1), 1);
        order.done(2, run(8, 2), 2);
        order.done(3, vec![3, 0], 3);
        assert_eq!(order.take(), vec![(run(8, 2), 2), (vec![3, 0], 3)]);
        order.done(0, run(7, 0), 0);
        assert_eq!(order.take(), vec![(run(7, 0), 0), (run(7, 1), 1)]);
        assert!(order.entries.is_empty());
    }

    #[test]
    fn what_is_out_of_its_chain_keeps_its_order_too() {
        let mut order = Order::default();
        (0..3).for_each(|stream| order.open(stream));
        order.lane_known(0, lane(&[2]).unwrap());
        order.done(1, vec![2, 1], 1);
        order.done(2, run(7, 2), 2);
        assert_eq!(order.take(), vec![(run(7, 2), 2)]);
        order.done(0, vec![2, 0], 0);
        assert_eq!(order.take(), vec![(vec![2, 0], 0), (vec![2, 1], 1)]);
        assert!(order.entries.is_empty());
    }

    #[test]
    fn nothing_passes_a_batch_whose_log_is_not_known() {
        let mut order = Order::default();
        order.open(0);
        order.open(1);
        order.done(1, run(8, 1), 1);
        assert!(order.take().is_empty());
        assert_eq!(lane(&run(7, 0)[..HEAD_BYTES - 1]), None);
        order.give_up(0);
        assert_eq!(order.take(), vec![(run(8, 1), 1)]);
    }
}
