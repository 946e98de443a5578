//! The profile's things as documents of sync, and back: what joins `hearth-store` (rows) and `hearth-sync` (Automerge).
//!
//! Nothing here writes: [`publication`] and [`Incoming`] read the store and say what [`Store::sync_write`] is to write, in
//! one transaction with the journal of the device machine.

mod convert;
mod incoming;

use hearth_protocol::id::{Handle, Hash, LogId};
use hearth_store::{Dirty, DocumentWrite, Store, StoreError, SyncDocument};
use hearth_sync::content::DocumentKind;
use hearth_sync::document::{Doc, DocumentError};

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
    /// The mark that ends with that.
    pub mark: i64,
}

/// What changed, written into its document: the one with the lowest handle, or a new one at `fresh`. Only when the device may
/// number envelopes, and with the log it does that in: Automerge numbers changes, too. `None` for what is gone meanwhile
/// or isn't kept by the store; its mark is to be cleared all the same.
pub fn publication(
    store: &Store,
    dirty: &Dirty,
    log: LogId,
    fresh: Handle,
) -> Result<Option<Publication>, DocumentsError> {
    let (Some(content), Some(kind)) = (
        store.sync_content(&dirty.item)?,
        convert::document_kind(dirty.item.kind),
    ) else {
        return Ok(None);
    };
    let record = convert::record(&content);
    let (handle, mut doc) = match store.sync_documents(&dirty.item)?.into_iter().next() {
        Some(document) => (document.handle, Doc::load(&document.document, log)?),
        None => (fresh, Doc::new(log)),
    };
    let change = doc.update(&record)?;
    let write = change.is_some().then(|| DocumentWrite {
        document: stored(handle, dirty.item.clone(), &doc),
        content: None,
        more: false,
    });
    Ok(Some(Publication {
        handle,
        kind,
        changes: change.map(|change| change.bytes).into_iter().collect(),
        write,
        mark: dirty.mark,
    }))
}

/// A whole document to publish: its heads and its bytes. `None` when it isn't here.
pub fn snapshot(
    store: &Store,
    handle: Handle,
    log: LogId,
) -> Result<Option<(Vec<Hash>, Vec<u8>)>, DocumentsError> {
    let Some(document) = store.sync_document(handle)? else {
        return Ok(None);
    };
    let doc = Doc::load(&document.document, log)?;
    Ok(Some((doc.heads(), doc.snapshot())))
}

fn stored(handle: Handle, item: hearth_store::SyncItem, doc: &Doc) -> SyncDocument {
    SyncDocument {
        handle,
        item,
        document: doc.save(),
        published: doc.heads().into_iter().map(|head| head.0).collect(),
    }
}

#[cfg(test)]
mod tests;
