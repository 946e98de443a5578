//! What has to be true of a world.

use std::collections::BTreeSet;

use hearth_protocol::id::Handle;
use hearth_sync::device::{Notice, space};
use memchr::memmem;

use super::World;
use super::node::Documents;

/// Whether a notice says that somebody lies, or asks whether this device was restored.
pub fn is_alarm(notice: &Notice) -> bool {
    is_accusation(notice) || *notice == Notice::RestoredOrCopied
}

/// Whether a notice says that somebody lies.
pub fn is_accusation(notice: &Notice) -> bool {
    matches!(
        notice,
        Notice::Proof(_)
            | Notice::Tampered
            | Notice::FalseServer
            | Notice::Suspicion(_)
            | Notice::Damaged { .. }
    )
}

/// Documents that differ, each with how many changes of it either has.
fn differences(one: &Documents, other: &Documents) -> Vec<(Handle, [Option<usize>; 2])> {
    let handles: BTreeSet<&Handle> = one.keys().chain(other.keys()).collect();
    let both = handles
        .into_iter()
        .map(|handle| (*handle, [one.get(handle), other.get(handle)]));
    both.filter(|(_, [one, other])| one != other)
        .map(|(handle, both)| (handle, both.map(|changes| changes.map(BTreeSet::len))))
        .collect()
}

impl World {
    /// Whether a node is one that counts: running, a member, and online.
    pub fn counts(&self, node: usize) -> bool {
        let this = &self.nodes[node];
        !this.retired
            && this.online
            && this
                .device
                .as_ref()
                .is_some_and(|device| device.account().member(&device.id()).is_some())
    }

    /// Every member that is online has the same documents.
    pub fn assert_converged(&self) {
        let mut seen: Option<(usize, &Documents)> = None;
        for (node, this) in self.nodes.iter().enumerate() {
            let Some(device) = &this.device else { continue };
            if !self.counts(node) {
                continue;
            }
            assert!(
                this.disk.dirty.is_empty(),
                "node {node} hasn't published everything: {:#?}",
                device.status(self.now)
            );
            match seen {
                None => seen = Some((node, &this.disk.documents)),
                Some((other, documents)) => {
                    assert!(
                        *documents == this.disk.documents,
                        "nodes {other} and {node} differ: {:?}\n{:#?}\n{:#?}",
                        differences(documents, &this.disk.documents),
                        device.status(self.now),
                        self.device(other).status(self.now),
                    );
                    assert!(
                        self.nodes[other].disk.erased == this.disk.erased,
                        "nodes {other} and {node} have erased other things",
                    );
                }
            }
        }
    }

    /// Nobody was accused of anything, and nobody asked whether it was restored.
    pub fn assert_honest(&self) {
        for (node, this) in self.nodes.iter().enumerate() {
            for notice in &this.notices {
                assert!(!is_alarm(notice), "node {node} says {notice:?}");
            }
        }
    }

    /// Nobody was accused of anything; the question whether a device was restored is none.
    pub fn assert_nobody_accused(&self) {
        for (node, this) in self.nodes.iter().enumerate() {
            for notice in &this.notices {
                assert!(!is_accusation(notice), "node {node} says {notice:?}");
            }
        }
    }

    /// Alarms of one node.
    pub fn alarms(&self, node: usize) -> Vec<&Notice> {
        self.nodes[node]
            .notices
            .iter()
            .filter(|notice| is_alarm(notice))
            .collect()
    }

    /// Nothing of this document is on any disk that counts, nor at any relay: not its text, its sealed bodies or its keys.
    pub fn assert_gone(&self, handle: &Handle) {
        for (node, this) in self.nodes.iter().enumerate() {
            if this.retired || !self.counts(node) {
                continue;
            }
            assert!(
                !this.disk.documents.contains_key(handle),
                "node {node} has the document"
            );
        }
        if let Some(found) = self.found(handle) {
            panic!("{found}");
        }
    }

    /// Where something of a document is still found: on a disk that counts, or at a relay.
    pub fn found(&self, handle: &Handle) -> Option<String> {
        let secrets = self.secrets.get(handle)?;
        for secret in secrets {
            let finder = memmem::Finder::new(secret);
            let has = |bytes: &[u8]| finder.find(bytes).is_some();
            for (node, this) in self.nodes.iter().enumerate() {
                if !self.counts(node) {
                    continue;
                }
                for (space, key, value) in this.disk.journal.records() {
                    if has(key) || has(value) {
                        return Some(format!(
                            "space {space} of node {node}'s journal holds it: {key:02x?}"
                        ));
                    }
                }
                if has(&this.keychain)
                    || this.disk.dirty.iter().any(|(_, change)| has(change))
                    || this.disk.pieces.values().any(|bytes| has(bytes))
                    || this.disk.documents.values().flatten().any(|change| has(change))
                {
                    return Some(format!("node {node}'s disk holds it"));
                }
            }
            for (place, relay) in self.relays.iter().enumerate() {
                for (_, space, key, value) in relay.store().inner.rows() {
                    if has(key) || has(value) {
                        return Some(format!("{space:?} of relay {place} holds it: {key:02x?}"));
                    }
                }
            }
        }
        None
    }

    /// Remembers what can't be lost any more: all that a device has whose last word the server has confirmed.
    pub fn note_kept(&mut self) {
        for node in 0..self.nodes.len() {
            let this = &self.nodes[node];
            let Some(device) = &this.device else { continue };
            let status = device.status(self.now);
            let waits = this
                .disk
                .journal
                .records()
                .any(|(at, _, _)| [space::OUTBOX, space::NEED].contains(&at));
            if this.disk.dirty.is_empty() && this.pending.is_empty() && !waits && status.unconfirmed == 0 {
                for (handle, changes) in &this.disk.documents {
                    self.kept
                        .extend(changes.iter().map(|change| (*handle, change.clone())));
                }
            }
        }
    }

    /// Nothing that was confirmed once is lost, unless it was erased.
    pub fn assert_kept(&self) {
        for (node, this) in self.nodes.iter().enumerate() {
            if !self.counts(node) {
                continue;
            }
            for (handle, change) in &self.kept {
                assert!(
                    this.disk.erased.contains(handle)
                        || this
                            .disk
                            .documents
                            .get(handle)
                            .is_some_and(|document| document.contains(change)),
                    "node {node} has lost a change of {handle:?}: {}",
                    String::from_utf8_lossy(change)
                );
            }
        }
    }

    pub fn seen(&self, node: usize, wanted: impl Fn(&Notice) -> bool) -> bool {
        self.nodes[node].notices.iter().any(wanted)
    }
}
