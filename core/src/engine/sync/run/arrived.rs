//! What follows in the engine from what other devices have written and erased.

use hearth_store::SyncReport;

use crate::engine::Engine;
use crate::types::EngineEvent;

impl Engine {
    pub(super) async fn compare(&self) {
        if let Err(error) = self.compare_arrived().await {
            tracing::warn!(code = error.code(), "what arrived can't be compared");
        }
    }

    /// What follows in the engine from what other devices have written and erased.
    pub(super) async fn after_sync(&self, reports: Vec<SyncReport>) {
        let (mut memories, mut chats, mut settings, mut erased) = (0, 0, false, false);
        let mut fresh = false;
        for report in reports {
            memories += report.new_memories.len() + report.changed_memories.len();
            chats += report.changed_chats.len();
            settings |= !report.settings.is_empty();
            fresh |= !report.new_memories.is_empty();
            for done in report.erasures {
                erased = true;
                let Some(receipt) = done.receipt else { continue };
                memories += 1;
                chats += receipt.chats.len() + receipt.turns.len();
            }
        }
        if fresh {
            self.compare().await;
        }
        if settings {
            self.reload_settings().await;
        }
        if memories > 0 {
            self.tell(EngineEvent::MemoryChanged { memory: None });
        }
        if chats > 0 {
            self.tell(EngineEvent::ChatsChanged { chat: None });
        }
        if erased {
            self.tell(EngineEvent::ErasuresChanged);
        }
        if memories + chats > 0 {
            self.tell(EngineEvent::SyncApplied {
                memories: memories as u64,
                chats: chats as u64,
            });
            self.inner.idle.wake();
        }
    }
}
