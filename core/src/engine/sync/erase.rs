//! Erasing everywhere: a person's word, a window to take it back when it is much, then here and on every device.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::{Engine, Result};
use super::run::Command;
use crate::error::EngineError;
use crate::types::{
    BULK_ERASURE, EraseEverywhereEvent, EraseParams, ErasePreview, EraseScope, ErasedEverywhere,
};

/// How long the window is, in seconds.
const UNDO_SECONDS: u32 = 30;

impl Engine {
    /// Erases on this device and orders it of all others. Where more than twenty things would go, or everything, it waits
    /// half a minute first: whoever cancels the call until then takes it back. Once it is ordered it can't be taken back.
    ///
    /// Errors: as [`Engine::erase`]; [`EngineError::NotFound`] without an account; [`EngineError::Cancelled`]: nothing was
    /// erased.
    pub async fn erase_everywhere(
        &self,
        params: EraseParams,
        events: mpsc::Sender<EraseEverywhereEvent>,
        cancel: CancellationToken,
    ) -> Result<ErasedEverywhere> {
        let running = self.running()?;
        let preview = self
            .preview_erase(params.scope.clone(), params.take_memories.clone())
            .await?;
        let mut params = params;
        if is_much(&params.scope, &preview) {
            // What comes in while it waits isn't swept along.
            params.seen.get_or_insert_with(|| crate::types::EraseSeen {
                memories: preview.memories.iter().map(|part| part.memory.id).collect(),
                turns: preview.turns.iter().map(|part| part.message).collect(),
                chats: preview.chats.iter().map(|part| part.chat).collect(),
            });
            let _ = events
                .send(EraseEverywhereEvent::Undo {
                    seconds: UNDO_SECONDS,
                })
                .await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(UNDO_SECONDS.into())) => {}
                () = cancel.cancelled() => return Err(EngineError::Cancelled),
                () = self.stopping() => return Err(EngineError::Stopped),
            }
        }
        let before: BTreeSet<String> = running
            .ask(Command::Status)
            .await??
            .erasures
            .into_iter()
            .map(|erasure| erasure.erasure)
            .collect();
        let receipt = self.erase_at_once(params).await?;
        // It is erased, and the order is noted: what fails from here on is told by the status, not as a failure of this.
        let _ = running.ask(Command::Nudge).await;
        let _ = events.send(EraseEverywhereEvent::Ordered).await;
        let status = running.ask(Command::Status).await;
        let erasures = status
            .and_then(|status| status)
            .map_or_else(|_| Vec::new(), |status| status.erasures)
            .into_iter()
            .filter(|erasure| !before.contains(&erasure.erasure))
            .collect();
        Ok(ErasedEverywhere { receipt, erasures })
    }
}

/// Whether it is so much that there is a window to take it back where other devices lose it, too.
fn is_much(scope: &EraseScope, preview: &ErasePreview) -> bool {
    let parts = preview.memories.len() + preview.turns.len() + preview.chats.len();
    matches!(scope, EraseScope::All) || parts > BULK_ERASURE
}

impl Engine {
    /// Refuses what would take much from all devices at once, by a way that can't be taken back.
    pub(in crate::engine) async fn check_not_much(&self, params: &EraseParams) -> Result<()> {
        if !self.has_account() {
            return Ok(());
        }
        let preview = self
            .preview_erase(params.scope.clone(), params.take_memories.clone())
            .await?;
        if is_much(&params.scope, &preview) {
            return Err(much("this"));
        }
        Ok(())
    }

    /// As [`Engine::check_not_much`], for so many chats.
    pub(in crate::engine) fn check_few_chats(&self, chats: usize) -> Result<()> {
        if self.has_account() && chats > BULK_ERASURE {
            return Err(much("deleting so many chats"));
        }
        Ok(())
    }

    fn has_account(&self) -> bool {
        !matches!(self.running(), Err(EngineError::NotFound { .. }))
    }
}

fn much(what: &str) -> EngineError {
    EngineError::InvalidRequest(format!(
        "{what} takes more than {BULK_ERASURE} things from every device of the account: order it with \
         sync.erase_everywhere, which waits {UNDO_SECONDS} seconds in which it can be taken back"
    ))
}
