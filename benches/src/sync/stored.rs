//! What a server keeps for a document beyond the document, and what it is made of.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::{Kind, Sealed};
use hearth_protocol::id::TimeMs;
use hearth_relay::Space;
use hearth_sync::content::{Content, DocumentKind};
use hearth_sync::device::{Input, LocalContent};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::node::{Dice, Net, PATIENCE, Running};
use super::records::Written;
use super::server::Server;
use super::{Row, SyncArgs};

/// Spaces of the server's store.
const ITEMS: u8 = Space::Items as u8;
const SHARDS: u8 = Space::Shards as u8;
const HOLES: u8 = Space::Holes as u8;
/// A living row's tag, and before the sealed envelope the link before it, if that is kept.
const LIVE: u8 = 1;
const LINKED: u8 = 4;
const LINK_BYTES: usize = 32;
/// Bytes of a hole's header hash.
const HOLE: f64 = 32.0;

/// What is in the file.
#[derive(Default)]
struct Found {
    file: u64,
    rows: u64,
    keys: u64,
    by_space: Vec<(u8, u64, u64, u64)>,
    live: u64,
    holes: u64,
    marked: u64,
    /// Of living rows.
    ciphertext: u64,
    covers: u64,
    new_keys: u64,
    other_header: u64,
}

fn look(server: &Server, copy: &Path) -> Result<Found> {
    let live = Connection::open_with_flags(
        server.data().join("sync.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )?;
    live.busy_timeout(Duration::from_secs(20))?;
    if copy.exists() {
        std::fs::remove_file(copy)?;
    }
    live.execute("VACUUM INTO ?1", [copy.to_str().context("no Unicode")?])?;
    let copied = Connection::open(copy)?;
    let mut found = Found {
        file: copy.metadata()?.len(),
        ..Found::default()
    };
    let mut spaces = copied.prepare(
        "SELECT space, count(*), sum(length(key)), sum(length(coalesce(l.value, r.value))) FROM rows r
         LEFT JOIN large l ON typeof(r.value) = 'integer' AND l.number = r.value GROUP BY space ORDER BY space",
    )?;
    let mut all = spaces.query([])?;
    while let Some(row) = all.next()? {
        let (space, rows, keys, values): (u8, i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        found.rows += rows as u64;
        found.keys += keys as u64;
        found
            .by_space
            .push((space, rows as u64, keys as u64, values as u64));
    }
    let mut items = copied.prepare(
        "SELECT coalesce(l.value, r.value) FROM rows r
         LEFT JOIN large l ON typeof(r.value) = 'integer' AND l.number = r.value WHERE space = ?1",
    )?;
    let mut all = items.query([ITEMS])?;
    while let Some(row) = all.next()? {
        let value = row.get_ref(0)?.as_blob()?;
        if let Some(&tag @ (LIVE | LINKED)) = value.first() {
            let prefix = if tag == LINKED { 1 + LINK_BYTES } else { 1 };
            let sealed = Sealed::decode(&value[prefix..]).map_err(|error| anyhow::anyhow!("{error}"))?;
            found.live += 1;
            found.ciphertext += sealed.ciphertext.len() as u64;
            if let Kind::Snapshot(covers) = &sealed.fields.kind {
                found.covers += covers.encode().len() as u64;
            }
            found.new_keys += u64::from(sealed.fields.new_key.is_some()) * 80;
            found.other_header += (value.len() - sealed.ciphertext.len()) as u64;
        } else {
            found.holes += 1;
            found.marked += 1;
        }
    }
    found.other_header -= found.covers + found.new_keys;
    found.holes += copied.query_row(PLAIN_HOLES, [HOLES], |row| row.get::<_, i64>(0))? as u64;
    Ok(found)
}

/// Holes without a signature: a row has four bytes and 32 for each.
const PLAIN_HOLES: &str = "SELECT coalesce(sum((length(value) - 4) / 32), 0) FROM rows WHERE space = ?1";

/// Waits until so many holes are there: what is compacted goes with acknowledgements, some thousand at a time.
async fn compacted(server: &Server, devices: &[Running], holes: u64) -> Result<()> {
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut dice = Dice::new();
    let handle = dice.handle();
    loop {
        let connection = Connection::open_with_flags(
            server.data().join("sync.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )?;
        connection.busy_timeout(Duration::from_secs(20))?;
        let plain: i64 = connection.query_row(PLAIN_HOLES, [HOLES], |row| row.get(0))?;
        let signed: i64 = connection.query_row(
            "SELECT count(*) FROM rows WHERE space = ?1 AND length(value) = 129",
            [ITEMS],
            |row| row.get(0),
        )?;
        let there = plain + signed;
        if there as u64 >= holes {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "only {there} of {holes} bodies were compacted"
        );
        // Something to acknowledge.
        let change = dice.bytes(100);
        let before = devices[1].ask(|node| node.applied).await?;
        devices[0]
            .ask(move |node| node.change(handle, vec![change]))
            .await?;
        devices[1].applied(before + 1).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// So many memories, each written and edited, then compacted to a snapshot, as a server keeps them.
pub(super) async fn measure(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let devices = net.account(2).await?;
    let (author, other) = (&devices[0], &devices[1]);
    let actor = author
        .ask(|node| node.device.writing())
        .await?
        .context("no log is written")?;
    let work = tempfile::tempdir()?;
    let copy = work.path().join("copy.db");
    let empty = look(server, &copy)?;
    let count = args.stored;
    let mut dice = Dice::new();
    let mut documents = Vec::with_capacity(count);
    for number in 0..count {
        let (memory, change) = Written::new(number, actor)?;
        documents.push((dice.handle(), memory, change));
    }
    // Made, and edited once, each in an envelope of its own.
    let mut arrived = 0;
    for round in 0..2 {
        let mut changes = Vec::with_capacity(count);
        for (handle, memory, first) in &mut documents {
            let change = if round == 0 {
                std::mem::take(first)
            } else {
                memory.pin()?
            };
            changes.push((*handle, change));
        }
        author
            .ask(move |node| {
                for (handle, change) in changes {
                    node.change(handle, vec![change]);
                }
            })
            .await?;
        author.confirmed().await?;
        arrived += count as u64;
        other.applied(arrived).await?;
    }
    let before = look(server, &copy)?;
    // A new epoch: its table has every key, so bodies that brought one in may go.
    author.give(Input::Rotate).await?;
    for device in &devices {
        device
            .until("the new epoch", |node| {
                let status = node.device.status(node.now_ms());
                status.epoch >= 2 && status.epoch_key
            })
            .await?;
    }
    let mut content_bytes = 0_u64;
    let mut document_bytes = 0_u64;
    let mut snapshots = Vec::with_capacity(count);
    for (handle, memory, _) in &documents {
        let document = memory.doc.snapshot();
        document_bytes += document.len() as u64;
        content_bytes += Content::Snapshot {
            kind: DocumentKind::Memory,
            at: TimeMs {
                ms: 1_800_000_000_000,
            },
            document: document.clone().try_into()?,
        }
        .encode()
        .len() as u64;
        snapshots.push((*handle, document));
    }
    author
        .ask(move |node| {
            for (handle, document) in snapshots {
                node.give(Input::Changed {
                    handle,
                    kind: DocumentKind::Memory,
                    content: LocalContent::Snapshot { document },
                });
            }
        })
        .await?;
    author.confirmed().await?;
    arrived += count as u64;
    other.applied(arrived).await?;
    compacted(server, &devices, 2 * count as u64).await?;
    let after = look(server, &copy)?;

    let each = |bytes: f64| bytes / count as f64;
    let shards = after
        .by_space
        .iter()
        .find(|space| space.0 == SHARDS)
        .map_or(0, |space| space.2 + space.3);
    let padding = after.ciphertext as f64 - 16.0 * after.live as f64 - content_bytes as f64;
    let total = after.file as f64 - empty.file as f64 - document_bytes as f64;
    let target = total - padding - shards as f64 - HOLE * after.holes as f64;
    let peer = plain(&work.path().join("plain.db"), &documents)?;
    rows.push(
        Row::new(
            format!("stored for each of {count} documents, compacted, beside document, padding, registry, 32 B a hole"),
            "B",
        )
        .value(each(target))
        .at_most(160.0)
        .automerge(peer),
    );
    let envelope =
        (after.other_header + after.covers + 16 * after.live + content_bytes - document_bytes) as f64;
    rows.push(
        Row::new(
            "… of it: header, signature, tag and frame of the snapshot's envelope, and its link",
            "B",
        )
        .value(each(envelope)),
    );
    rows.push(
        Row::new("… of it: signatures and links that holes keep", "B")
            .value(each(after.marked as f64 * 96.0)),
    );
    rows.push(
        Row::new("… of it: keys of rows, and SQLite's cells and pages", "B")
            .value(each(target - envelope - after.marked as f64 * 96.0)),
    );
    rows.push(Row::new("… beside the document alone, all in all", "B").value(each(total)));
    let spaces: Vec<Value> = after
        .by_space
        .iter()
        .map(|(space, rows, keys, values)| json!({ "space": space, "rows": rows, "keys": keys, "values": values }))
        .collect();
    Ok(json!({
        "documents": count, "file": after.file, "file_before_compaction": before.file, "file_empty": empty.file,
        "each": {
            "document": each(document_bytes as f64), "overhead": each(total), "against_target": each(target),
            "padding": each(padding), "registry": each(shards as f64), "holes": after.holes as f64 / count as f64,
            "tag": each(16.0 * after.live as f64), "content_frame": each(content_bytes as f64 - document_bytes as f64),
            "covers": each(after.covers as f64), "new_keys": each(after.new_keys as f64),
            "row_and_header": each(after.other_header as f64),
            "rows": after.rows as f64 / count as f64, "keys": each(after.keys as f64),
            "hole_rows": each(after.holes as f64 * 33.0 + after.marked as f64 * 96.0),
            "marked_holes": after.marked,
        },
        "spaces": spaces,
    }))
}

/// The same documents in a table of their own, as they are: bytes of the file beside them, a document.
fn plain(path: &Path, documents: &[(hearth_protocol::id::Handle, Written, Vec<u8>)]) -> Result<f64> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "CREATE TABLE documents (id BLOB PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;",
    )?;
    let transaction = connection.transaction()?;
    let mut bytes = 0;
    for (handle, memory, _) in documents {
        let document = memory.doc.snapshot();
        bytes += document.len();
        transaction.execute("INSERT INTO documents VALUES (?1, ?2)", (&handle.0, &document))?;
    }
    transaction.commit()?;
    connection.execute("VACUUM", [])?;
    Ok((path.metadata()?.len() as f64 - bytes as f64) / documents.len() as f64)
}
