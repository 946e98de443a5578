//! `hearth memory erase`, and "forget …" in a chat: what would go, the question, the receipt.

use hearth_api::Client;
use hearth_api::methods::Empty;
use hearth_api::methods::memory::{Erase, PreviewErase, PreviewParams};
use hearth_api::methods::sync::GetSyncStatus;
use hearth_api::types::{
    EraseParams, ErasePreview, EraseReason, EraseReceipt, EraseScope, EraseSeen, MemoryId, Role,
};

use super::{counted, find_memory, short};
use crate::commands::{confirm, erasures, find_chat};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// So many parts of a preview are printed of each sort.
const MOST_SHOWN: usize = 30;
/// So many characters of what somebody said are printed.
const QUOTED: usize = 80;

/// How to go about it.
#[derive(Debug, Default)]
pub(in crate::commands) struct Wishes {
    pub(in crate::commands) keep: Vec<String>,
    pub(in crate::commands) take: Vec<String>,
    pub(in crate::commands) keep_chats: bool,
    pub(in crate::commands) preview: bool,
    pub(in crate::commands) yes: bool,
}

/// What is meant by what was typed.
pub(in crate::commands) async fn scope(
    client: &Client,
    memories: &[String],
    chats: &[String],
    topic: Option<String>,
    all: bool,
) -> Result<EraseScope, Failure> {
    if all {
        return Ok(EraseScope::All);
    }
    if let Some(topic) = topic {
        return Ok(EraseScope::Topic { topic });
    }
    if !chats.is_empty() {
        let mut found = Vec::new();
        for chat in chats {
            found.push(find_chat(client, chat).await?);
        }
        return Ok(EraseScope::Chats { chats: found });
    }
    if memories.is_empty() {
        return Err(Failure::usage("Nothing was named to be erased.")
            .hint("Name memories, or use --chat, --topic or --all."));
    }
    let mut found = Vec::new();
    for memory in memories {
        found.push(find_memory(client, memory).await?);
    }
    Ok(EraseScope::Items {
        memories: found,
        turns: Vec::new(),
    })
}

/// Previews, asks, erases.
pub(in crate::commands) async fn run(
    client: &Client,
    scope: EraseScope,
    wishes: &Wishes,
    output: &Output,
) -> Result<(), Failure> {
    // Where there are other devices it goes from them, too: what came back from one wouldn't be erased.
    let everywhere = client.call::<GetSyncStatus>(Empty {}).await?.account.is_some();
    let Some(params) = prepare(client, scope, wishes, everywhere, output).await? else {
        return Ok(());
    };
    let receipt = if everywhere {
        erasures::order(client, params, output).await?.receipt
    } else {
        client.call::<Erase>(params).await?
    };
    if output.json {
        return output.value(&receipt);
    }
    show_receipt(&receipt, output)
}

/// Previews and asks; `None` when only a preview was wished for.
pub(in crate::commands) async fn prepare(
    client: &Client,
    scope: EraseScope,
    wishes: &Wishes,
    everywhere: bool,
    output: &Output,
) -> Result<Option<EraseParams>, Failure> {
    let mut asked = PreviewParams {
        scope: scope.clone(),
        take_memories: Vec::new(),
    };
    let mut preview = client.call::<PreviewErase>(asked.clone()).await?;
    if !wishes.take.is_empty() {
        asked.take_memories = taken(&preview, wishes)?;
        preview = client.call::<PreviewErase>(asked.clone()).await?;
    }
    let mut params = chosen(asked, &preview, wishes)?;
    // What is kept is no part of what would go.
    preview
        .memories
        .retain(|part| !params.keep_memories.contains(&part.memory.id));
    preview
        .turns
        .retain(|part| !params.keep_turns.contains(&part.message));
    preview
        .chats
        .retain(|part| !params.keep_chats.contains(&part.chat));
    if wishes.preview && output.json {
        output.value(&preview)?;
        return Ok(None);
    }
    if preview.memories.is_empty() && preview.turns.is_empty() && preview.chats.is_empty() {
        return Err(Failure::not_found("Nothing was found that could be erased."));
    }
    if wishes.preview {
        show(&preview, output);
        return Ok(None);
    }
    if !wishes.yes {
        show(&preview, output);
        params.seen = Some(seen(&preview));
    }
    if wishes.yes {
        for part in preview
            .memories
            .iter()
            .filter(|part| part.ticked && part.memory.pinned)
        {
            output.note(&format!("Memory {} was pinned.", short(part.memory.id)));
        }
    }
    let mut question = question(&preview);
    if everywhere {
        question = question.replacen("for good", "for good, on every device and at the server", 1);
    }
    confirm(output, wishes.yes, &question)?;
    Ok(Some(params))
}

/// What is asked before anything goes: what was pinned was to be kept whatever happens.
fn question(preview: &ErasePreview) -> String {
    let ticked = preview.memories.iter().filter(|part| part.ticked);
    match ticked.filter(|part| part.memory.pinned).count() {
        0 => "Erase all this for good?".to_owned(),
        pinned => format!(
            "Erase all this for good, {} among it?",
            if pinned == 1 {
                "a pinned memory".to_owned()
            } else {
                format!("{} pinned memories", text::count(pinned as u64))
            }
        ),
    }
}

/// What the person has before their eyes when they are asked.
fn seen(preview: &ErasePreview) -> EraseSeen {
    EraseSeen {
        memories: preview.memories.iter().map(|part| part.memory.id).collect(),
        turns: preview.turns.iter().map(|part| part.message).collect(),
        chats: preview.chats.iter().map(|part| part.chat).collect(),
    }
}

/// The memories of the preview that are to be taken though it doesn't tick them.
fn taken(preview: &ErasePreview, wishes: &Wishes) -> Result<Vec<MemoryId>, Failure> {
    let mut taken = Vec::new();
    for take in &wishes.take {
        let begins = |id: &MemoryId| id.to_string().starts_with(&take.to_lowercase());
        let before = taken.len();
        taken.extend(preview.memories.iter().map(|part| part.memory.id).filter(begins));
        if taken.len() == before {
            return Err(Failure::not_found(format!(
                "No memory in the preview begins with {take:?}."
            )));
        }
    }
    Ok(taken)
}

/// All that the preview of this ticks.
pub(in crate::commands) fn whole(scope: EraseScope) -> EraseParams {
    EraseParams {
        scope,
        keep_memories: Vec::new(),
        keep_turns: Vec::new(),
        keep_chats: Vec::new(),
        take_memories: Vec::new(),
        seen: None,
        confirm: true,
    }
}

/// The parts that stay ticked.
fn chosen(asked: PreviewParams, preview: &ErasePreview, wishes: &Wishes) -> Result<EraseParams, Failure> {
    let mut params = EraseParams {
        take_memories: asked.take_memories,
        ..whole(asked.scope)
    };
    for keep in &wishes.keep {
        let begins = |id: String| id.starts_with(&keep.to_lowercase());
        let memories = preview.memories.iter().map(|part| part.memory.id);
        let turns = preview.turns.iter().map(|part| part.message);
        let chats = preview.chats.iter().map(|part| part.chat);
        let before = params.keep_memories.len() + params.keep_turns.len() + params.keep_chats.len();
        params
            .keep_memories
            .extend(memories.filter(|id| begins(id.to_string())));
        params
            .keep_turns
            .extend(turns.filter(|id| begins(id.to_string())));
        params
            .keep_chats
            .extend(chats.filter(|id| begins(id.to_string())));
        if params.keep_memories.len() + params.keep_turns.len() + params.keep_chats.len() == before {
            return Err(Failure::not_found(format!(
                "Nothing in the preview begins with {keep:?}."
            )));
        }
    }
    if wishes.keep_chats {
        params.keep_chats = preview.chats.iter().map(|part| part.chat).collect();
        params.keep_turns = preview.turns.iter().map(|part| part.message).collect();
    }
    Ok(params)
}

/// Prints what would go, on standard error: it is no data, but what the question is about.
pub(in crate::commands) fn show(preview: &ErasePreview, output: &Output) {
    let now = text::now_ms();
    output.note("This would be erased for good:");
    for part in preview.memories.iter().take(MOST_SHOWN) {
        let why = match part.why {
            EraseReason::Asked => "",
            EraseReason::Duplicate if part.ticked => " (says the same)",
            EraseReason::Duplicate => " (says nearly the same: stays, but for --take ID)",
            EraseReason::Older if part.ticked => " (an older version)",
            EraseReason::Older => " (an older version: stays, to be confirmed, but for --take ID)",
            EraseReason::Source | EraseReason::Answer => " (came from there alone)",
        };
        output.note(&format!(
            "  memory   {}  {}{}{why}",
            short(part.memory.id),
            if part.memory.pinned { "(pinned) " } else { "" },
            text::quote(&part.memory.text, QUOTED)
        ));
    }
    more(preview.memories.len(), "memories", output);
    for part in preview.turns.iter().take(MOST_SHOWN) {
        let who = if part.role == Role::User {
            "you"
        } else {
            "the answer"
        };
        output.note(&format!(
            "  message  {}  {} {}: {}",
            &part.message.to_string()[..8],
            who,
            text::ago(part.at_ms, now),
            text::quote(&part.text, QUOTED)
        ));
    }
    more(preview.turns.len(), "messages", output);
    for part in preview.chats.iter().take(MOST_SHOWN) {
        output.note(&format!(
            "  chat     {}  {} ({})",
            crate::commands::short(part.chat),
            text::quote(&part.title, QUOTED),
            text::counted(part.messages, "message")
        ));
    }
    more(preview.chats.len(), "chats", output);
    if preview.biography_sentences > 0 {
        let number = text::counted(preview.biography_sentences, "sentence");
        output.note(&format!("  {number} of the biography"));
    }
    if !preview.spared.is_empty() {
        let number = counted(preview.spared.len() as u64);
        output.note(&format!("Not erased, as they came from elsewhere too: {number}."));
    }
}

fn more(number: usize, what: &str, output: &Output) {
    if number > MOST_SHOWN {
        output.note(&format!("  … and {} more {what}", number - MOST_SHOWN));
    }
}

/// Prints what an erasure did.
pub(in crate::commands) fn show_receipt(receipt: &EraseReceipt, output: &Output) -> Result<(), Failure> {
    output.line(&format!("Erased {}.", erased(receipt)))?;
    output.aside(&format!("Receipt {}.", receipt.erasure));
    if !receipt.recounted {
        output.note("The count afterwards doesn't agree: please report this.");
    }
    if !receipt.log_emptied {
        output.note("Another program reads the database, so its log could not be emptied yet; the engine's end does it.");
    }
    if !receipt.to_review.is_empty() {
        let number = counted(receipt.to_review.len() as u64);
        output.note(&format!(
            "To be confirmed now: {number}. `hearth memory list --state review`"
        ));
    }
    Ok(())
}

/// What went, counted.
pub(super) fn erased(receipt: &EraseReceipt) -> String {
    let mut parts = vec![counted(receipt.memories)];
    if receipt.turns > 0 {
        parts.push(text::counted(receipt.turns, "message"));
    }
    if receipt.chats > 0 {
        parts.push(text::counted(receipt.chats, "chat"));
    }
    if receipt.biography_sentences > 0 {
        parts.push(text::counted(receipt.biography_sentences, "sentence"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_what_was_pinned() {
        let part = |pinned: bool, ticked: bool| {
            serde_json::json!({"why": "asked", "ticked": ticked, "memory": {
                "id": "00000000000000000000000000000001", "text": "x", "kind": "event", "confidence": 1.0, "sensitive": false,
                "valid_from_ms": null, "valid_to_ms": null, "created_at_ms": 0, "updated_at_ms": 0,
                "status": {"state": "active"}, "origin": "stated", "use_count": 0, "last_used_at_ms": null,
                "pinned": pinned, "sources": [],
            }})
        };
        for (pinned, expected) in [
            (
                &[part(false, true), part(true, false)][..],
                "Erase all this for good?",
            ),
            (
                &[part(true, true), part(false, true)],
                "Erase all this for good, a pinned memory among it?",
            ),
            (
                &[part(true, true), part(true, true)],
                "Erase all this for good, 2 pinned memories among it?",
            ),
        ] {
            let preview = serde_json::json!({
                "memories": pinned, "turns": [], "chats": [], "spared": [], "biography_sentences": 0,
            });
            assert_eq!(question(&serde_json::from_value(preview).unwrap()), expected);
        }
    }
}
