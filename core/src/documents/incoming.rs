//! Changes from other devices, merged into the documents that are here.

use std::collections::{BTreeMap, BTreeSet};

use hearth_protocol::id::{Handle, LogId};
use hearth_store::{DocumentWrite, Store, SyncItem};
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{Doc, DocumentError, Record};

use super::{DocumentsError, convert, stored};

/// What came for one document.
#[derive(Debug, Clone, Copy)]
pub enum Arrived<'a> {
    /// Changes.
    Changes(&'a [Vec<u8>]),
    /// A whole document.
    Snapshot(&'a [u8]),
}

/// The documents that one step of the device machine changes.
#[derive(Debug)]
pub struct Incoming<'s> {
    store: &'s Store,
    log: LogId,
    open: BTreeMap<Handle, Open>,
    damaged: Vec<(Handle, DocumentError)>,
}

#[derive(Debug)]
struct Open {
    kind: DocumentKind,
    /// What it is of, where it was here before.
    item: Option<SyncItem>,
    before: Doc,
    after: Doc,
}

impl<'s> Incoming<'s> {
    /// Begins, with the log that this device writes.
    pub fn new(store: &'s Store, log: LogId) -> Self {
        Self {
            store,
            log,
            open: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }

    /// Puts what came into its document, in the order in which it came. What can't be read is passed over, and told by
    /// [`Incoming::finish`]: it must not hold up the rest.
    ///
    /// # Errors
    /// The store's alone.
    pub fn take(
        &mut self,
        handle: Handle,
        kind: DocumentKind,
        arrived: Arrived<'_>,
    ) -> Result<(), DocumentsError> {
        if kind == DocumentKind::Media || self.store.is_erased_handle(handle)? {
            return Ok(());
        }
        if !self.open.contains_key(&handle) {
            let document = self.store.sync_document(handle)?;
            let item = document.as_ref().map(|document| document.item.clone());
            let doc = match document {
                Some(document) => match Doc::load(&document.document, self.log) {
                    Ok(doc) => doc,
                    Err(error) => {
                        self.damaged.push((handle, error));
                        return Ok(());
                    }
                },
                None => Doc::new(self.log),
            };
            let open = Open {
                kind,
                item,
                before: doc.clone(),
                after: doc,
            };
            self.open.insert(handle, open);
        }
        let Some(open) = self.open.get_mut(&handle) else {
            return Ok(());
        };
        let taken = match arrived {
            Arrived::Changes(changes) => open.after.apply(changes),
            Arrived::Snapshot(bytes) => open.after.merge(bytes),
        };
        if let Err(error) = taken {
            self.damaged.push((handle, error));
        }
        Ok(())
    }

    /// What to write, and what couldn't be read. What waits here to be published is merged with what came, by field; it
    /// goes on waiting.
    ///
    /// # Errors
    /// The store's alone.
    #[allow(clippy::type_complexity, reason = "said above")]
    pub fn finish(mut self) -> Result<(Vec<DocumentWrite>, Vec<(Handle, DocumentError)>), DocumentsError> {
        let mut damaged = std::mem::take(&mut self.damaged);
        let mut writes: Vec<DocumentWrite> = Vec::new();
        let mut of_items: BTreeMap<SyncItem, BTreeSet<Handle>> = BTreeMap::new();
        let mut records: BTreeMap<Handle, Record> = BTreeMap::new();
        for (handle, open) in &self.open {
            if open.after.heads() == open.before.heads() {
                continue;
            }
            let read = open.after.record(open.kind);
            let item = match (&open.item, &read) {
                (Some(item), Ok(record)) if *item != convert::item(record) => {
                    damaged.push((*handle, DocumentError::Mismatch));
                    item.clone()
                }
                (Some(item), _) => item.clone(),
                (None, Ok(record)) => convert::item(record),
                // Of whatever it is, nothing can be read yet: it is kept, so that later changes find it.
                (None, Err(_)) => SyncItem {
                    kind: convert::sync_kind(open.kind),
                    local: Vec::new(),
                },
            };
            match read {
                Ok(record) if convert::item(&record) == item => {
                    of_items.entry(item.clone()).or_default().insert(*handle);
                    records.insert(*handle, record);
                }
                Ok(_) => {}
                Err(error) => damaged.push((*handle, error)),
            }
            writes.push(DocumentWrite {
                document: stored(*handle, item, &open.after),
                content: None,
                more: false,
            });
        }
        for (item, handles) in of_items {
            let (united, more) = self.united(&item, &mut records)?;
            let last = handles.last().copied();
            let content = united.as_ref().map(convert::content);
            // Once for each thing, with its last document.
            if let Some(write) = writes
                .iter_mut()
                .find(|write| Some(write.document.handle) == last)
            {
                write.content = content;
                write.more = more;
            }
        }
        // Content comes when all documents of its thing are written.
        writes.sort_by_key(|write| write.content.is_some());
        Ok((writes, damaged))
    }

    /// What all documents of a thing say together, with what waits here; and whether that is more than the first says.
    fn united(
        &self,
        item: &SyncItem,
        records: &mut BTreeMap<Handle, Record>,
    ) -> Result<(Option<Record>, bool), DocumentsError> {
        for document in self.store.sync_documents(item)? {
            if records.contains_key(&document.handle) {
                continue;
            }
            let kind = convert::document_kind(item.kind);
            // One that can't be read says nothing.
            if let Ok(record) = Doc::load(&document.document, self.log).and_then(|doc| doc.record(kind)) {
                records.insert(document.handle, record);
            }
        }
        let mut of_item: BTreeMap<Handle, Record> = records
            .iter()
            .filter(|(_, record)| convert::item(record) == *item)
            .map(|(handle, record)| (*handle, record.clone()))
            .collect();
        if self.store.is_dirty(item)?
            && let Some(local) = self.store.sync_content(item)?
            && let Some((handle, first)) = of_item.iter_mut().next()
        {
            let local = convert::record(&local);
            let merged = match self.open.get(handle) {
                // What was here before is what the edits were made to.
                Some(open) if open.item.is_some() => open.before.merged_with(&local, &open.after).ok(),
                _ => Record::united([local, first.clone()]),
            };
            *first = merged.unwrap_or_else(|| first.clone());
        }
        let first = of_item.values().next().cloned();
        let united = Record::united(of_item.into_values());
        let more = first != united;
        Ok((united, more))
    }
}
