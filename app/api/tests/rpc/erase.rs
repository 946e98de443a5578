//! What an erasure takes, seen by a client.

use hearth_api::methods::chat::{Send, SendParams};
use hearth_api::methods::memory::{
    Add, Bio, Edit, Erase, Export, Import, ImportFormat, ImportParams, PreviewErase, PreviewParams, Receipt,
    ReceiptParams, Receipts, Review, ReviewParams, Work,
};
use hearth_api::methods::{Empty, chats};
use hearth_api::types::{
    EraseParams, ErasePreview, EraseReason, EraseReceipt, EraseReceiptsParams, EraseScope, EraseSeen,
    ErasureId, MemoryDraft, MemoryEdit, MemoryId, Message,
};
use hearth_api::{ErrorCode, Update};
use serde_json::{Value, json};

use crate::kit::{Bench, EMBEDDING_MODEL, Via, both, code, install};

impl Bench {
    async fn would_erase(&self, scope: &EraseScope) -> ErasePreview {
        let params = PreviewParams {
            scope: scope.clone(),
            take_memories: Vec::new(),
        };
        self.call::<PreviewErase>(params).await.unwrap()
    }

    async fn erases(&self, scope: &EraseScope, take_memories: Vec<MemoryId>) -> EraseReceipt {
        let params = EraseParams {
            take_memories,
            ..erasing(scope)
        };
        self.call::<Erase>(params).await.unwrap()
    }

    /// Every message of every chat, on the branch that is shown.
    async fn all_said(&self) -> Vec<Message> {
        let mut all = Vec::new();
        let listed = self
            .call::<chats::List>(chats::ListParams::default())
            .await
            .unwrap();
        for chat in listed.chats {
            let params = chats::ShowParams {
                chat: chat.id,
                leaf: None,
            };
            all.extend(self.call::<chats::Show>(params).await.unwrap().messages);
        }
        all
    }

    async fn says(&self, word: &str) -> usize {
        let all = self.all_said().await;
        all.iter().filter(|message| message.text.contains(word)).count()
    }
}

fn erasing(scope: &EraseScope) -> EraseParams {
    EraseParams {
        scope: scope.clone(),
        keep_memories: Vec::new(),
        keep_turns: Vec::new(),
        keep_chats: Vec::new(),
        take_memories: Vec::new(),
        seen: None,
        confirm: true,
    }
}

/// What somebody who looked at a preview has seen.
fn all_of(preview: &ErasePreview) -> EraseSeen {
    EraseSeen {
        memories: preview.memories.iter().map(|part| part.memory.id).collect(),
        turns: preview.turns.iter().map(|part| part.message).collect(),
        chats: preview.chats.iter().map(|part| part.chat).collect(),
    }
}

fn topic(topic: &str) -> EraseScope {
    EraseScope::Topic { topic: topic.into() }
}

fn memory_of(told: &Message) -> MemoryId {
    told.metadata.clone().unwrap().memory.kept[0]
}

both! {
    async fn a_topic_takes_what_no_recall_looks_at(via: Via) {
        let bench = Bench::new(via).await;
        let off = SendParams { text: "My dog Rex is ill".into(), memory: Some(false), ..SendParams::default() };
        bench.call::<Send>(off).await.unwrap();
        bench.say(None, "fail").await.unwrap_err();
        assert_eq!((bench.says("Rex").await, bench.says("partial").await), (2, 1));
        // In any form, as elsewhere.
        assert_eq!(bench.would_erase(&topic("dogs")).await.turns.len(), 2);
        assert_eq!(bench.erases(&topic("Rex"), Vec::new()).await.turns, 2);
        assert_eq!(bench.erases(&topic("partial"), Vec::new()).await.turns, 1);
        assert_eq!((bench.says("Rex").await, bench.says("partial").await), (0, 0));
        bench.stop().await;
    }

    async fn a_likely_duplicate_that_is_taken_goes_with_its_turns(via: Via) {
        let bench = Bench::new(via).await;
        install(&bench.dir.path().join("models"), EMBEDDING_MODEL, None);
        let said = |uncle: &str| format!("Remember that my uncle {uncle} likes very long walks beside the cold wide river every morning");
        let first = bench.say(None, &said("Bob")).await.unwrap();
        let second = bench.say(None, &said("Tom")).await.unwrap();
        let (first, second) = (memory_of(&first), memory_of(&second));
        assert_ne!(first, second);
        bench.call::<Work>(Empty {}).await.unwrap();
        let scope = EraseScope::Items { memories: vec![first], turns: Vec::new() };
        let preview = bench.would_erase(&scope).await;
        let near = preview.memories.iter().find(|part| part.memory.id == second).unwrap();
        assert_eq!((near.why, near.ticked), (EraseReason::Duplicate, false));
        // Taken, it is shown with what comes along.
        let params = PreviewParams { scope: scope.clone(), take_memories: vec![second] };
        let taken = bench.call::<PreviewErase>(params).await.unwrap();
        assert!(taken.memories.iter().all(|part| part.ticked) && taken.turns.len() > preview.turns.len(), "{taken:#?}");
        assert_eq!(bench.erases(&scope, vec![second]).await.memories, 2);
        assert_eq!((bench.says("Bob").await, bench.says("Tom").await), (0, 0));
        bench.stop().await;
    }

    async fn erasing_a_chat_takes_answers_elsewhere_that_quote_its_memories(via: Via) {
        let bench = Bench::new(via).await;
        let told = bench.say(None, "Remember that my dog is called Rex").await.unwrap();
        // The model repeats what stands before it.
        let quoting = bench.say(None, "What is my dog called?").await.unwrap();
        assert!(quoting.text.contains("Rex"), "{}", quoting.text);
        let scope = EraseScope::Chats { chats: vec![told.chat] };
        let preview = bench.would_erase(&scope).await;
        let parts: Vec<_> = preview.turns.iter().map(|turn| (turn.message, turn.why)).collect();
        assert_eq!(parts, [(quoting.id, EraseReason::Answer)]);
        let receipt = bench.erases(&scope, Vec::new()).await;
        assert_eq!((receipt.memories, receipt.turns, receipt.chats), (1, 1, 1));
        assert_eq!(bench.says("Rex").await, 0);
        bench.stop().await;
    }

    async fn what_was_not_shown_is_not_erased(via: Via) {
        let bench = Bench::new(via).await;
        bench.say(None, "My dog Rex is ill").await.unwrap();
        let scope = topic("Rex");
        let seen = bench.would_erase(&scope).await;
        let erase = |seen: &ErasePreview| EraseParams { seen: Some(all_of(seen)), ..erasing(&scope) };
        let later = bench.say(None, "My dog Rex is well again").await.unwrap();
        assert_eq!(code(bench.call::<Erase>(erase(&seen)).await), ErrorCode::InvalidRequest);
        assert_eq!(bench.says("Rex").await, 4, "nothing at all was erased");
        // What came in may stay when somebody says so; what is gone meanwhile is no matter.
        let now = bench.would_erase(&scope).await;
        let keep_turns = now.turns.iter().filter(|turn| turn.chat == later.chat).map(|turn| turn.message).collect();
        let partly = EraseParams { keep_turns, ..erase(&seen) };
        assert_eq!(bench.call::<Erase>(partly).await.unwrap().turns, 2);
        assert_eq!(bench.call::<Erase>(erase(&now)).await.unwrap().turns, 2);
        assert_eq!(bench.says("Rex").await, 0);
        bench.stop().await;
    }

    async fn receipts_can_be_looked_at_again(via: Via) {
        let bench = Bench::new(via).await;
        let all = EraseReceiptsParams::default();
        assert_eq!(bench.call::<Receipts>(all).await.unwrap().total, 0);
        let mut given = Vec::new();
        for said in ["My dog Rex is ill", "My cat Tom is well"] {
            let told = bench.say(None, &format!("Remember that {said}")).await.unwrap();
            let scope = EraseScope::Items { memories: vec![memory_of(&told)], turns: Vec::new() };
            given.insert(0, (bench.erases(&scope, Vec::new()).await, memory_of(&told)));
        }
        let listed = bench.call::<Receipts>(all).await.unwrap();
        assert_eq!(listed.total, 2);
        assert!(listed.receipts.iter().eq(given.iter().map(|(receipt, _)| receipt)), "the latest first");
        let second = EraseReceiptsParams { limit: Some(5), offset: Some(1) };
        assert_eq!(bench.call::<Receipts>(second).await.unwrap().receipts, [given[1].0.clone()]);
        for (receipt, memory) in given {
            let detail = bench.call::<Receipt>(ReceiptParams { erasure: receipt.erasure }).await.unwrap();
            assert_eq!(detail.erased_memories, [memory]);
            assert_eq!(detail.erased_turns.len() as u64, receipt.turns);
            assert_eq!(detail.receipt, receipt);
        }
        let none = ReceiptParams { erasure: ErasureId::from_u128(1) };
        assert_eq!(code(bench.call::<Receipt>(none).await), ErrorCode::NotFound);
        bench.stop().await;
    }

    async fn what_is_sensitive_leaves_the_biography_at_once(via: Via) {
        let bench = Bench::new(via).await;
        let draft = |text: &str| MemoryDraft { text: text.into(), ..MemoryDraft::default() };
        let kept = bench.call::<Add>(draft("I live in Lyon")).await.unwrap().memory;
        bench.call::<Add>(draft("I prefer trains to planes")).await.unwrap();
        bench.call::<Work>(Empty {}).await.unwrap();
        assert_eq!(bench.call::<Bio>(Empty {}).await.unwrap().sentences.len(), 2);
        let edit = MemoryEdit {
            memory: kept.id, text: None, kind: None, sensitive: Some(true), valid_from_ms: None, valid_to_ms: None, endless: None,
        };
        bench.call::<Edit>(edit).await.unwrap();
        let bio = bench.call::<Bio>(Empty {}).await.unwrap();
        assert!(bio.stale && bio.sentences.iter().all(|sentence| !sentence.text.contains("Lyon")), "{bio:?}");
        bench.stop().await;
    }

    async fn the_oldest_fact_is_asked_about_however_many_are_new(via: Via) {
        let bench = Bench::new(via).await;
        let draft = MemoryDraft { text: "I live in Lyon".into(), ..MemoryDraft::default() };
        bench.call::<Add>(draft).await.unwrap();
        let mut call = bench.client.stream::<Export>(Empty {});
        let mut document = String::new();
        while let Some(Update::Event(piece)) = call.next().await {
            document.push_str(&piece.chunk);
        }
        let mut document: Value = serde_json::from_str(&document).unwrap();
        let one = document["memories"][0].clone();
        let others = (0..250_u128).map(|number| {
            let mut other = one.clone();
            other["id"] = json!(MemoryId::from_u128(number + 1));
            other["text"] = json!(format!("Fact {number}"));
            if number == 7 {
                other["created_at_ms"] = json!(1_600_000_000_000_i64);
                other["updated_at_ms"] = json!(1_600_000_000_000_i64);
            }
            other
        });
        document["memories"].as_array_mut().unwrap().extend(others);
        let source = chats::ImportSource::Text { text: document.to_string() };
        bench.call::<Import>(ImportParams { source, format: ImportFormat::Auto }).await.unwrap();
        let question = bench.call::<Review>(ReviewParams { now: true }).await.unwrap().question.unwrap();
        assert_eq!(question.memory.text, "Fact 7");
        // Once is enough for now.
        assert!(bench.call::<Review>(ReviewParams { now: true }).await.unwrap().question.is_none());
        bench.stop().await;
    }
}
