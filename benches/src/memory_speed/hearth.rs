//! Our side: a profile is filled, then opened by another process and asked.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hearth_core::memory::recall::{Over, RecallQuery, RecallWeights};
use hearth_inference::decoder::DevicePreference;
use hearth_inference::embedding::{EmbedOptions, TextEmbedder};
use hearth_store::{
    EmbeddedText, Filter, Index, MemoryKind, MemoryOrigin, MemoryState, MemoryStatus, NewMemory, Protection,
    Store, TextQuery,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::data::{Vectors, memory, question};
use super::{LIMIT, SideArgs, percentiles};
use crate::machine::process_memory;

const MODEL: &str = "bench";

fn protection() -> Protection {
    Protection::Passphrase(Zeroizing::new("bench".to_owned()))
}

/// Fills a profile in `dir`.
pub(super) fn fill(args: &SideArgs, dir: &Path) -> Result<Value> {
    let vectors = Vectors::read(&args.vectors)?;
    let mut store = Store::create(dir, &protection())?;
    let start = Instant::now();
    let records: Vec<Value> = (0..args.count)
        .map(|number| {
            json!({
                "id": format!("{number:032x}"), "text": memory(number), "kind": "event", "confidence": 0.9,
                "sensitive": false, "created_at_ms": number * 60_000, "updated_at_ms": 0, "sources": [],
                "status": "active", "origin": "extracted", "use_count": 0, "pinned": false,
            })
        })
        .collect();
    let document = json!({ "format": "hearth-memories", "version": 1, "memories": records }).to_string();
    store.import_memories(&mut document.as_bytes())?;
    loop {
        let waiting = store.rows_without_vector(Index::Memories, MODEL, 5000)?;
        if waiting.is_empty() {
            break;
        }
        let left = args.count
            - store
                .embedding_models()?
                .first()
                .map_or(0, |model| model.memories as usize);
        // The newest come first.
        let embedded: Vec<_> = waiting
            .into_iter()
            .enumerate()
            .map(|(at, row)| (row, vectors.get(left - 1 - at)))
            .collect();
        store.set_vectors(Index::Memories, MODEL, &embedded)?;
    }
    store.truncate_log()?;
    let bytes = store.statistics()?.database_bytes;
    Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "bytes": bytes }))
}

/// Opens the profile, asks, stores.
pub(super) fn measure(args: &SideArgs, dir: &Path) -> Result<Value> {
    let vectors = Vectors::read(&args.vectors)?;
    let queries: Vec<(String, Vec<f32>)> = (0..args.queries)
        .map(|number| (question(number, args.count), vectors.question(number)))
        .collect();
    let base_bytes = process_memory("VmRSS");
    let start = Instant::now();
    let mut store = Store::open(dir, &protection())?;
    let open_ms = ms(start);
    let start = Instant::now();
    recall(&store, &queries[0].0, &queries[0].1)?;
    let first_ms = ms(start);
    // A person's frequent words have been asked for before.
    for (text, vector) in queries.iter().take(20) {
        recall(&store, text, vector)?;
    }
    let (mut both, mut text_only, mut vector_only) = (Vec::new(), Vec::new(), Vec::new());
    let filter = filter();
    for (text, vector) in &queries {
        let start = Instant::now();
        recall(&store, text, vector)?;
        both.push(ms(start));
    }
    for (text, vector) in &queries {
        let start = Instant::now();
        store.search_text(Index::Memories, &TextQuery::new(text), &filter, LIMIT)?;
        text_only.push(ms(start));
        let start = Instant::now();
        store.search_vectors(Index::Memories, MODEL, vector, &filter, LIMIT)?;
        vector_only.push(ms(start));
    }
    let mut nearest = Vec::new();
    for (_, vector) in queries.iter().take(super::JUDGED) {
        let hits = store.search_vectors(Index::Memories, MODEL, vector, &filter, 10)?;
        let rows = store.recall_rows(Index::Memories, &hits.iter().map(|hit| hit.0).collect::<Vec<_>>())?;
        // The bench's ids are the memories' numbers.
        let numbers: Vec<u64> = rows
            .iter()
            .filter_map(|row| match row.source {
                hearth_store::RowSource::Memory(id) => u64::from_str_radix(&id.to_string()[16..], 16).ok(),
                hearth_store::RowSource::Turn { .. } => None,
            })
            .collect();
        nearest.push(numbers);
    }
    let mut stored = Vec::new();
    for number in 0..args.queries {
        let new = NewMemory {
            text: memory(args.count + number),
            kind: MemoryKind::Event,
            confidence: 0.9,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: 0,
            sources: Vec::new(),
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Extracted,
            pinned: false,
        };
        let vector = vectors.get(args.count + number);
        let start = Instant::now();
        let embedded = EmbeddedText {
            model_id: MODEL,
            vector: &vector,
        };
        store.add_memory(&new, Some(embedded))?;
        stored.push(ms(start));
    }
    let peak_bytes = process_memory("VmHWM").saturating_sub(base_bytes);
    let options = EmbedOptions {
        device: DevicePreference::Cpu,
        ..EmbedOptions::default()
    };
    let embedder = TextEmbedder::load(&args.model, options)?;
    embedder.embed(&["first"])?;
    let mut embedded = Vec::new();
    for (text, _) in &queries {
        let start = Instant::now();
        let vector = embedder.embed(&[text.as_str()])?;
        recall(&store, text, vector.first().context("no vector")?)?;
        embedded.push(ms(start));
    }
    Ok(json!({
        "open_ms": open_ms, "first_ms": first_ms, "recall": percentiles(both), "recall_embedding": percentiles(embedded),
        "text": percentiles(text_only), "vector": percentiles(vector_only), "store": percentiles(stored),
        "peak_bytes": peak_bytes, "nearest": nearest,
    }))
}

fn filter() -> Filter {
    Filter {
        states: vec![MemoryState::Active],
        ..Filter::default()
    }
}

/// Recall as the assistant does it: both searches, and the ranking of what they find.
fn recall(store: &Store, text: &str, vector: &[f32]) -> Result<()> {
    let query = RecallQuery {
        text: text.to_owned(),
        previous: Vec::new(),
        over: Over::Facts,
        limit: 10,
        now_ms: 1_800_000_000_000,
        filter: Filter::default(),
    };
    let hits =
        hearth_core::memory::recall::recall(store, Some((MODEL, vector)), &query, &RecallWeights::default())?;
    ensure!(!hits.is_empty(), "nothing recalled");
    Ok(())
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
