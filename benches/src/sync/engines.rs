//! Whole engines on encrypted profiles: a new device, and an erasure on all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hearth_core::engine::{ImportSource, MemoryFormat};
use hearth_core::types::{
    AccountCreateParams, EngineEvent, EraseParams, EraseScope, MemoryListParams, PairAnswer, PairEvent,
    PairParams,
};
use hearth_core::{Engine, EngineOptions, Unlock};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::server::Server;
use super::{Row, SyncArgs, automerge, percentile};

/// Devices of the account.
const DEVICES: usize = 5;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(9);

/// How long memories may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(90);

/// A profile with its engine.
struct Home {
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Home {
    async fn open() -> Result<Home> {
        let folder = tempfile::tempdir()?;
        let mut options = EngineOptions::new(
            folder.path().join("home"),
            Unlock::with_key_file(folder.path().join("key")),
        );
        options.models_dir = folder.path().join("models");
        // No models: what is measured is sync.
        options.idle_pause = None;
        Ok(Home {
            engine: Engine::open(options).await?,
            _folder: folder,
        })
    }

    async fn memories(&self) -> Result<u64> {
        let params = MemoryListParams {
            limit: Some(1),
            ..MemoryListParams::default()
        };
        Ok(self.engine.list_memories(params).await?.total)
    }
}

/// Waits, but not for ever.
async fn soon<T>(what: &str, waited: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(Duration::from_mins(1), waited)
        .await
        .with_context(|| format!("{what} didn't come"))
}

/// Seconds from both persons' "the digits are equal" to the first memories, to all of them, and to being live.
struct Joined {
    first_s: f64,
    all_s: f64,
}

async fn pair(old: &Home, new: &Home, server: &Server, memories: u64) -> Result<Joined> {
    let (from_new, mut new_events) = mpsc::channel(8);
    let (from_old, mut old_events) = mpsc::channel(8);
    let params = PairParams {
        server: Some(server.url.clone()),
        name: Some("new".into()),
    };
    let joining = {
        let engine = new.engine.clone();
        tokio::spawn(async move { engine.pair(params, from_new, CancellationToken::new()).await })
    };
    let Some(PairEvent::Code { typed, .. }) = soon("a pairing code", new_events.recv()).await? else {
        bail!("no pairing code: {:?}", joining.await?.err());
    };
    let approving = {
        let engine = old.engine.clone();
        tokio::spawn(async move { engine.approve(typed, from_old, CancellationToken::new()).await })
    };
    // The approving side first: what it fails with, the other one waits for.
    for events in [&mut old_events, &mut new_events] {
        match soon("digits", events.recv()).await? {
            Some(PairEvent::Compare { .. }) => {}
            Some(other) => bail!("{other:?} instead of digits"),
            None => bail!("the pairing failed: {:?}", approving.await?.err()),
        }
    }
    let yes = || PairAnswer {
        same: Some(true),
        ..PairAnswer::default()
    };
    old.engine.answer_pairing(yes()).await?;
    let start = Instant::now();
    new.engine.answer_pairing(yes()).await?;
    let (mut first, end) = (None, start + ARRIVAL);
    loop {
        let there = new.memories().await?;
        if there > 0 {
            first.get_or_insert(start.elapsed().as_secs_f64());
        }
        if there >= memories {
            break;
        }
        if Instant::now() >= end {
            bail!(
                "{there} of {memories} memories arrived: {:?}",
                new.engine.sync_status().await?
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all_s = start.elapsed().as_secs_f64();
    soon("the end of approving", approving).await???;
    soon("the end of joining", joining).await???;
    Ok(Joined {
        first_s: first.unwrap_or(all_s),
        all_s,
    })
}

/// Joins and erasures through engines.
pub(super) async fn measure(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let count = args.memories;
    let records: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "id": format!("{number:032x}"), "text": crate::memory_speed::memory(number), "kind": "event",
                "confidence": 0.9, "sensitive": false, "created_at_ms": number * 60_000, "updated_at_ms": 0,
                "sources": [], "status": "active", "origin": "extracted", "use_count": 0, "pinned": false,
            })
        })
        .collect();
    let document = json!({ "format": "hearth-memories", "version": 1, "memories": records }).to_string();
    let mut homes = vec![Home::open().await?];
    let first = &homes[0].engine;
    first
        .import_memories(ImportSource::Text(document), MemoryFormat::Hearth)
        .await?;
    let ids: Vec<_> = {
        let params = MemoryListParams {
            limit: Some(1_000),
            ..MemoryListParams::default()
        };
        let listed = first.list_memories(params).await?;
        listed.memories.iter().map(|memory| memory.id).collect()
    };
    let start = Instant::now();
    let params = AccountCreateParams {
        server: Some(server.url.clone()),
        invitation: None,
        name: Some("first".into()),
    };
    first.create_account(params).await?;
    first.sync_once(PATIENCE).await?;
    let uploaded_s = start.elapsed().as_secs_f64();
    eprintln!("sync: engines: {count} memories uploaded in {uploaded_s:.1} s");

    let mut joins = Vec::new();
    for _ in 1..DEVICES {
        let new = Home::open().await?;
        let join = pair(&homes[0], &new, server, count as u64).await?;
        eprintln!(
            "sync: engines: device {} has them in {:.1} s",
            homes.len() + 1,
            join.all_s
        );
        joins.push(join);
        homes.push(new);
    }
    let mut all: Vec<f64> = joins.iter().map(|join| join.all_s).collect();
    let mut firsts: Vec<f64> = joins.iter().map(|join| join.first_s).collect();
    let peer = automerge::join(count).await?;
    rows.push(
        Row::new(
            format!(
                "a new device, {count} memories: all readable, p50 of {}",
                all.len()
            ),
            "s",
        )
        .value(percentile(&mut all, 0.5))
        .at_most(3.0)
        .automerge(peer),
    );
    rows.push(Row::new("… the first readable", "s").value(percentile(&mut firsts, 0.5)));
    for home in &homes {
        home.engine.sync_once(PATIENCE).await?;
    }

    let (mut confirmed, mut receipts) = (Vec::new(), Vec::new());
    for id in ids.iter().take(args.erasures) {
        let (everywhere, receipt) = erase(&homes, *id).await?;
        confirmed.push(everywhere);
        receipts.push(receipt);
    }
    rows.push(
        Row::new(
            format!(
                "devices erase, {DEVICES} online, {} times: until all have confirmed, p50",
                confirmed.len()
            ),
            "ms",
        )
        .value(percentile(&mut confirmed, 0.5)),
    );
    rows.push(
        Row::new("… p99", "ms")
            .value(percentile(&mut confirmed, 0.99))
            .at_most(5_000.0),
    );
    let detail = json!({
        "memories": count, "upload_s": uploaded_s, "join_all_s": all, "join_first_s": firsts, "automerge_join_s": peer,
        "erase_ms_p50": percentile(&mut confirmed, 0.5), "erase_ms_p99": percentile(&mut confirmed, 0.99),
        "erase_ms_max": percentile(&mut confirmed, 1.0), "receipt_ms_p50": percentile(&mut receipts, 0.5),
        "erasures": confirmed.len(),
    });
    for home in homes {
        home.engine.stop().await;
    }
    Ok(detail)
}

/// Milliseconds from the order until the device that gave it knows every device's acknowledgement, and the receipt.
async fn erase(homes: &[Home], memory: hearth_core::types::MemoryId) -> Result<(f64, f64)> {
    let engine = &homes[0].engine;
    let mut changes = engine.watch();
    let (events, _ordered) = mpsc::channel(4);
    let params = EraseParams {
        scope: EraseScope::Items {
            memories: vec![memory],
            turns: Vec::new(),
        },
        keep_memories: Vec::new(),
        keep_turns: Vec::new(),
        keep_chats: Vec::new(),
        take_memories: Vec::new(),
        seen: None,
        confirm: true,
    };
    let start = Instant::now();
    let ordered = engine
        .erase_everywhere(params, events, CancellationToken::new())
        .await?;
    let erasure = ordered
        .erasures
        .first()
        .context("no erasure was ordered")?
        .erasure
        .clone();
    let (mut everywhere, mut receipt) = (None, None);
    loop {
        let all = engine.list_erasures().await?;
        let mine = all
            .iter()
            .find(|other| other.erasure == erasure)
            .context("the erasure isn't listed")?;
        let now = start.elapsed().as_secs_f64() * 1_000.0;
        if mine.confirmed.len() >= homes.len() {
            everywhere.get_or_insert(now);
        }
        if mine.receipts > 0 {
            receipt.get_or_insert(now);
        }
        if let (Some(everywhere), Some(receipt)) = (everywhere, receipt) {
            return Ok((everywhere, receipt));
        }
        ensure!(start.elapsed() < PATIENCE, "not all have confirmed: {mine:?}");
        // Statements of others bring no event: looked for again after a moment.
        let changed = tokio::time::timeout(Duration::from_millis(5), async {
            while !matches!(changes.recv().await, Ok(EngineEvent::ErasuresChanged) | Err(_)) {}
        });
        let _ = changed.await;
    }
}
