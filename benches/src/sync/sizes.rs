//! Bytes and round trips: connecting again, an edit, a hundred changes.

use std::time::Duration;

use anyhow::{Context, Result};
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::{Batch, Item};
use hearth_protocol::id::TimeMs;
use hearth_sync::content::{Content, DocumentKind};
use serde_json::{Value, json};

use super::node::{Dice, Net, Passed, Running};
use super::records::Written;
use super::server::Server;
use super::{Row, SyncArgs, automerge};

/// How long it is listened for what follows a connection's being up to date.
const AFTER: Duration = Duration::from_secs(2);
/// Devices of the account.
const DEVICES: usize = 10;

/// What connecting again cost.
struct Again {
    up: usize,
    down: usize,
    round_trips: usize,
}

async fn again(device: &Running) -> Result<Again> {
    device.offline().await?;
    device
        .ask(|node| {
            node.passed = Some(Vec::new());
        })
        .await?;
    device.online().await?;
    tokio::time::sleep(AFTER).await;
    let passed = device.ask(|node| node.passed.take().unwrap_or_default()).await?;
    let (mut cost, mut waiting, mut done) = (
        Again {
            up: 0,
            down: 0,
            round_trips: 0,
        },
        false,
        false,
    );
    for (_, what) in &passed {
        done |= matches!(what, Passed::UpToDate);
        match what.bytes() {
            Some((true, bytes)) => {
                cost.up += bytes;
                waiting |= !done;
            }
            Some((false, bytes)) => {
                cost.down += bytes;
                // What answers closes a round trip.
                cost.round_trips += usize::from(waiting);
                waiting = false;
            }
            None => {}
        }
    }
    Ok(cost)
}

/// Connecting again with nothing new, for every number of documents.
pub(super) async fn reconnect(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let devices = net.account(DEVICES).await?;
    let (first, last) = (&devices[0], &devices[DEVICES - 1]);
    let mut details = Vec::new();
    let mut there = 0;
    for &documents in &args.documents {
        let more: Vec<Vec<u8>> = (there..documents)
            .map(|number| Written::new(number, hearth_protocol::id::LogId([7; 16])).map(|(_, change)| change))
            .collect::<Result<_>>()?;
        first
            .ask(move |node| {
                let mut dice = Dice::new();
                for change in more {
                    node.change(dice.handle(), vec![change]);
                }
            })
            .await?;
        there = documents;
        first.confirmed().await?;
        for device in &devices[1..] {
            device.applied(documents as u64).await?;
        }
        // What the growing left behind (acknowledgements, statements) goes with the first; then nothing is new.
        let settling = again(last).await?;
        let cost = again(last).await?;
        let peer = automerge::reconnect(documents).await?;
        rows.push(
            Row::new(
                format!("reconnect, nothing new, {DEVICES} devices, {documents} documents"),
                "B",
            )
            .value((cost.up + cost.down) as f64)
            .at_most(512.0)
            .automerge(peer.bytes as f64),
        );
        rows.push(
            Row::new(
                format!("… round trips of the application, {documents} documents"),
                "",
            )
            .value(cost.round_trips as f64)
            .at_most(1.0)
            .automerge(peer.round_trips),
        );
        details.push(json!({
            "documents": documents, "up_bytes": cost.up, "down_bytes": cost.down, "round_trips": cost.round_trips,
            "settling_bytes": settling.up + settling.down,
            "automerge_up_bytes": peer.up, "automerge_down_bytes": peer.bytes - peer.up,
        }));
    }
    Ok(json!(details))
}

/// What one batch held.
struct Sent {
    batch: usize,
    envelopes: usize,
    padding: usize,
}

/// Gives changes of one document, and looks at the batches that go out until they are confirmed.
async fn sent(device: &Running, handle: hearth_protocol::id::Handle, changes: Vec<Vec<u8>>) -> Result<Sent> {
    let content = Content::Changes {
        kind: DocumentKind::Memory,
        at: TimeMs {
            ms: 1_800_000_000_000,
        },
        changes: changes
            .iter()
            .map(|change| Ok(change.clone().try_into()?))
            .collect::<Result<Vec<_>>>()?
            .try_into()?,
    }
    .encode()
    .len();
    device
        .ask(move |node| {
            node.passed = Some(Vec::new());
            node.change(handle, changes);
        })
        .await?;
    device.confirmed().await?;
    let passed = device.ask(|node| node.passed.take().unwrap_or_default()).await?;
    let mut sent = Sent {
        batch: 0,
        envelopes: 0,
        padding: 0,
    };
    let mut ciphertext = 0;
    for (_, what) in passed {
        let Passed::Batch { out: true, bytes } = what else {
            continue;
        };
        sent.batch += bytes.len();
        if let Ok(Batch::Run(run)) = Batch::decode(&bytes) {
            for item in run.items.iter() {
                if let Item::Envelope(sealed) = item {
                    sent.envelopes += 1;
                    ciphertext += sealed.ciphertext.len();
                }
            }
        }
    }
    // The tag is no padding.
    sent.padding = ciphertext.saturating_sub(content + 16 * sent.envelopes);
    Ok(sent)
}

/// An edit and a hundred changes on the wire.
pub(super) async fn wire(server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let devices = net.account(2).await?;
    let device = &devices[0];
    let actor = device
        .ask(|node| node.device.writing())
        .await?
        .context("no log is written")?;
    let handle = Dice::new().handle();
    let (mut memory, first) = Written::new(1, actor)?;
    let raw_first = first.len();
    let created = sent(device, handle, vec![first]).await?;
    let pin = memory.pin()?;
    let raw_pin = pin.len();
    let pinned = sent(device, handle, vec![pin]).await?;
    let correction = memory.correct()?;
    let raw_correction = correction.len();
    let corrected = sent(device, handle, vec![correction]).await?;
    let hundred: Vec<Vec<u8>> = (0..100).map(|_| memory.correct()).collect::<Result<_>>()?;
    let raw_hundred: usize = hundred.iter().map(Vec::len).sum();
    let in_one = sent(device, handle, hundred).await?;
    let hundred_small: Vec<Vec<u8>> = (0..100).map(|_| memory.pin()).collect::<Result<_>>()?;
    let raw_small: usize = hundred_small.iter().map(Vec::len).sum();
    let small_in_one = sent(device, handle, hundred_small).await?;
    let peer = automerge::wire()?;

    let unpadded = |sent: &Sent| (sent.batch - sent.padding) as f64;
    let mut row = |name: &str, sent: &Sent, raw: usize, target: Option<f64>, peer: Option<f64>| {
        let row = Row::new(format!("{name}, before padding"), "B").value(unpadded(sent));
        let row = target.map_or(row.clone(), |target| row.at_most(target));
        rows.push(peer.map_or(row.clone(), |peer| row.automerge(peer)));
        rows.push(Row::new(format!("… on the wire (raw change {raw} B)"), "B").value(sent.batch as f64));
    };
    row(
        "a small edit (pinned)",
        &pinned,
        raw_pin,
        Some(400.0),
        Some(peer.pin),
    );
    row(
        "a correction of the text",
        &corrected,
        raw_correction,
        Some(400.0),
        Some(peer.correction),
    );
    row(
        "a new memory, its key with it",
        &created,
        raw_first,
        None,
        Some(peer.first),
    );
    for (name, sent, raw, peer) in [
        (
            "100 corrections of one document, to their raw bytes",
            &in_one,
            raw_hundred,
            peer.hundred,
        ),
        (
            "100 small edits of one document, to their raw bytes",
            &small_in_one,
            raw_small,
            peer.hundred_small,
        ),
    ] {
        rows.push(
            Row::new(name, "×")
                .value(sent.batch as f64 / raw as f64)
                .at_most(1.15)
                .automerge(peer / raw as f64),
        );
    }
    let detail = |sent: &Sent, raw: usize| json!({ "bytes": sent.batch, "padding": sent.padding, "envelopes": sent.envelopes, "raw": raw });
    Ok(json!({
        "pin": detail(&pinned, raw_pin), "correction": detail(&corrected, raw_correction),
        "new": detail(&created, raw_first), "hundred_corrections": detail(&in_one, raw_hundred),
        "hundred_pins": detail(&small_in_one, raw_small),
    }))
}
