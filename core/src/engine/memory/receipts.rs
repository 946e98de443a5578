//! Receipts of what was erased: identifiers and counts, which is all that is left of it.

use hearth_store as store;

use super::super::{Engine, Result};
use crate::types::{EraseReceipt, EraseReceiptDetail, EraseReceipts, EraseReceiptsParams, ErasureId};

impl Engine {
    /// The receipts of all erasures, the latest first, and how many there are.
    ///
    /// Errors: [`crate::EngineError::InvalidRequest`] for a limit that isn't from 1 to 1,000.
    pub async fn list_receipts(&self, params: EraseReceiptsParams) -> Result<EraseReceipts> {
        let limit = super::limit(params.limit, super::MAX_LISTED)?;
        let offset = params.offset.unwrap_or(0) as usize;
        self.inner
            .chats
            .store()
            .run(move |store| {
                let all = store.erasures()?;
                let receipts = all.iter().skip(offset).take(limit);
                let receipts = receipts.map(|id| store.erase_receipt(*id).map(view));
                Ok(EraseReceipts {
                    receipts: receipts.collect::<std::result::Result<_, _>>()?,
                    total: all.len() as u64,
                })
            })
            .await
    }

    /// The latest erasure, if there was one: whoever writes down what is here looks before and after whether it changed.
    pub async fn latest_erasure(&self) -> Result<Option<ErasureId>> {
        let latest = |store: &mut store::Store| Ok(store.erasures()?.first().copied());
        Ok(self.inner.chats.store().run(latest).await?.map(Into::into))
    }

    /// One receipt, with the identifiers of what went.
    ///
    /// Errors: [`crate::EngineError::NotFound`].
    pub async fn show_receipt(&self, erasure: ErasureId) -> Result<EraseReceiptDetail> {
        let receipt = self
            .inner
            .chats
            .store()
            .run(move |store| store.erase_receipt(erasure.into()))
            .await?;
        let store::EraseReceipt {
            memories,
            turns,
            chats,
            ..
        } = receipt.clone();
        Ok(EraseReceiptDetail {
            receipt: view(receipt),
            erased_memories: memories.into_iter().map(Into::into).collect(),
            erased_turns: turns.into_iter().map(Into::into).collect(),
            erased_chats: chats.into_iter().map(Into::into).collect(),
        })
    }
}

/// A receipt as faces see it.
pub(super) fn view(receipt: store::EraseReceipt) -> EraseReceipt {
    let counts = receipt.counts;
    EraseReceipt {
        erasure: receipt.id.into(),
        erased_at_ms: receipt.erased_at_ms,
        memories: counts.memories,
        turns: counts.turns,
        chats: counts.chats,
        messages: counts.messages,
        titles: counts.titles,
        text_entries: counts.text_entries,
        vectors: counts.vectors,
        biography_sentences: counts.biography_sentences,
        jobs: counts.jobs,
        to_review: receipt.to_review.into_iter().map(Into::into).collect(),
        recounted: counts == receipt.recount,
        log_emptied: receipt.log_emptied,
    }
}
