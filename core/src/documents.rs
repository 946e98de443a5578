//! The profile's things as documents of sync, and back: what joins `hearth-store` (rows) and `hearth-sync` (Automerge).
//!
//! Nothing here writes: [`publications`] and [`Incoming`] read the store and say what [`Store::sync_write`] is to write, in
//! one transaction with the journal of the device machine.

mod convert;
mod incoming;

use hearth_protocol::id::{Handle, LogId};
use hearth_store::{Dirty, DocumentWrite, Store, StoreError, SyncContent, SyncDocument, SyncItem};
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{Doc, DocumentError, Record};

pub use incoming::{Arrived, Incoming};

/// Why something can't become a document, or a document can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The document failed.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// A local change, as a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The document.
    pub handle: Handle,
    /// What it is.
    pub kind: DocumentKind,
    /// What to publish: one change; none when the document says so already.
    pub changes: Vec<Vec<u8>>,
    /// The document to keep, when it changed.
    pub write: Option<DocumentWrite>,
    /// The mark that ends with that: it stands in the last of a change's publications alone.
    pub mark: Option<i64>,
}

/// What changed, written into its document: the one with the lowest handle, or a new one at `fresh`. Settings are written
/// into all documents of their group, so that what was taken out of one isn't read from another. Only when the device
/// may number envelopes, and with the log it does that in: Automerge numbers changes, too. Nothing for what is gone
/// meanwhile or isn't kept by the store; its mark is to be cleared all the same.
pub fn publications(
    store: &Store,
    dirty: &Dirty,
    log: LogId,
    fresh: Handle,
) -> Result<Vec<Publication>, DocumentsError> {
    let Some(content) = store.sync_content(&dirty.item)? else {
        return Ok(Vec::new());
    };
    let kind = convert::document_kind(dirty.item.kind);
    let record = convert::record(&content);
    let mut documents = Vec::new();
    for document in store.sync_documents(&dirty.item)? {
        documents.push((document.handle, Doc::load(&document.document, log)?));
    }
    if documents.is_empty() {
        documents.push((fresh, Doc::new(log)));
    } else if kind != DocumentKind::Settings {
        documents.truncate(1);
    }
    let mut made = Vec::with_capacity(documents.len());
    for (handle, mut doc) in documents {
        let change = doc.update(&record)?;
        let write = change.is_some().then(|| DocumentWrite {
            document: stored(handle, dirty.item.clone(), &doc),
            content: None,
            more: false,
        });
        made.push(Publication {
            handle,
            kind,
            changes: change.map(|change| change.bytes).into_iter().collect(),
            write,
            mark: None,
        });
    }
    if let Some(last) = made.last_mut() {
        last.mark = Some(dirty.mark);
    }
    Ok(made)
}

/// A whole document to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its bytes: the same on every device that has the same changes.
    pub document: Vec<u8>,
}

/// The document at `handle` as it is; `None` when it isn't here.
pub fn snapshot(store: &Store, handle: Handle, log: LogId) -> Result<Option<Snapshot>, DocumentsError> {
    let Some(document) = store.sync_document(handle)? else {
        return Ok(None);
    };
    let doc = Doc::load(&document.document, log)?;
    Ok(Some(Snapshot {
        document: doc.snapshot(),
    }))
}

/// What all documents of a thing that are here say together; `None` when there is none that can be read.
pub fn united(store: &Store, item: &SyncItem) -> Result<Option<SyncContent>, DocumentsError> {
    let mut records = Vec::new();
    for document in store.sync_documents(item)? {
        // The actor edits nothing.
        let doc = Doc::load(&document.document, LogId([0; 16]));
        let read = doc.and_then(|doc| doc.record(convert::document_kind(item.kind)));
        records.extend(read.ok());
    }
    Ok(Record::united(records).as_ref().map(convert::content))
}

fn stored(handle: Handle, item: SyncItem, doc: &Doc) -> SyncDocument {
    SyncDocument {
        handle,
        item,
        document: doc.save(),
        published: doc.heads().into_iter().map(|head| head.0).collect(),
    }
}

#[cfg(test)]
mod tests;
