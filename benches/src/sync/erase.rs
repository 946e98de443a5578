//! Erasures at the server, and at a device that was away.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hearth_protocol::codec::Wire;
use hearth_protocol::id::Handle;
use hearth_protocol::message::{Reply, ReplyFrame, Request, RequestFrame};
use hearth_sync::device::Input;
use serde_json::{Value, json};

use super::node::{Dice, Net, Node, Passed};
use super::server::Server;
use super::{Row, SyncArgs, percentile};

/// When what was seen on the connection of whoever erases.
struct Seen {
    sent: Option<Instant>,
    accepted: Option<Instant>,
    receipt: Option<Instant>,
}

fn seen(passed: &[(Instant, Passed)]) -> Seen {
    let mut seen = Seen {
        sent: None,
        accepted: None,
        receipt: None,
    };
    let mut id = None;
    for (at, what) in passed {
        match what {
            Passed::Frame { out: true, bytes } => {
                if let Ok(frame) = RequestFrame::decode(bytes)
                    && matches!(frame.request, Request::Erase(_))
                {
                    id = Some(frame.id);
                    seen.sent.get_or_insert(*at);
                }
            }
            Passed::Frame { out: false, bytes } => {
                let Ok(frame) = ReplyFrame::decode(bytes) else {
                    continue;
                };
                match frame.reply {
                    Reply::Accepted(_) | Reply::Refused(_) if Some(frame.to) == id => {
                        seen.accepted.get_or_insert(*at);
                    }
                    Reply::Receipt(_) => {
                        seen.receipt.get_or_insert(*at);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    seen
}

fn finished(node: &Node) -> bool {
    node.passed
        .as_ref()
        .is_some_and(|passed| seen(passed).receipt.is_some())
}

/// Whether these bytes stand anywhere in the server's files.
fn stands(server: &Server, wanted: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(server.data())? {
        let path = entry?.path();
        if path.is_file() && memchr::memmem::find(&std::fs::read(&path)?, wanted).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From an order's leaving its device until the server refuses what it names, and until its storage is scrubbed.
pub(super) async fn server(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let devices = net.account(2).await?;
    let (author, other) = (&devices[0], &devices[1]);
    let count = args.stored;
    let handles: Vec<Handle> = {
        let mut dice = Dice::new();
        (0..count).map(|_| dice.handle()).collect()
    };
    let all = handles.clone();
    author
        .ask(move |node| {
            let mut dice = Dice::new();
            for handle in all {
                node.change(handle, vec![dice.bytes(300)]);
            }
        })
        .await?;
    author.confirmed().await?;
    other.applied(count as u64).await?;
    let (mut refused, mut scrubbed, mut left) = (Vec::new(), Vec::new(), 0);
    for number in 0..args.erasures.min(count / 2) {
        // One more body of the document, whose sealed bytes are known here.
        let handle = handles[number * (count / args.erasures.max(1)).max(1) % count];
        let passed = author
            .ask(move |node| {
                node.passed = Some(Vec::new());
                node.change(handle, vec![Dice::new().bytes(300)]);
                node.passed.take().unwrap_or_default()
            })
            .await?;
        author.confirmed().await?;
        let batch = passed.iter().find_map(|(_, what)| match what {
            Passed::Batch { out: true, bytes } => Some(bytes.clone()),
            _ => None,
        });
        let batch = batch.context("no batch went out")?;
        // Behind header and salt, before the signature.
        let body = &batch[batch.len() - 64 - 128..batch.len() - 64];
        ensure!(stands(server, body)?, "the body isn't in the server's files");
        author
            .ask(move |node| {
                node.passed = Some(Vec::new());
                node.give(Input::Erase(vec![handle]));
            })
            .await?;
        author.until("the receipt", finished).await?;
        let passed = author.ask(|node| node.passed.take().unwrap_or_default()).await?;
        let seen = seen(&passed);
        let sent = seen.sent.context("no order was sent")?;
        refused.push(
            seen.accepted
                .context("no answer")?
                .duration_since(sent)
                .as_secs_f64()
                * 1_000.0,
        );
        scrubbed.push(
            seen.receipt
                .context("no receipt")?
                .duration_since(sent)
                .as_secs_f64()
                * 1_000.0,
        );
        left += usize::from(stands(server, body)?);
    }
    ensure!(
        left == 0,
        "{left} erased bodies stand in the server's files after their receipts"
    );
    let worst = percentile(&mut scrubbed, 1.0);
    rows.push(
        Row::new(
            format!("server erases, {count} documents: until refused, p50"),
            "ms",
        )
        .value(percentile(&mut refused, 0.5))
        .at_most(1_000.0),
    );
    rows.push(
        Row::new(
            "… until its storage is scrubbed and the receipt is here, worst",
            "ms",
        )
        .value(worst)
        .at_most(1_000.0),
    );
    Ok(json!({
        "erasures": refused.len(), "refused_ms_p50": percentile(&mut refused, 0.5),
        "refused_ms_max": percentile(&mut refused, 1.0), "receipt_ms_p50": percentile(&mut scrubbed, 0.5),
        "receipt_ms_max": worst, "bodies_found_after_receipt": left,
    }))
}

/// A device that was away: how much of the data passes, either way, before it has erased.
pub(super) async fn away(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let devices = net.account(2).await?;
    let (author, away) = (&devices[0], &devices[1]);
    let mut dice = Dice::new();
    let (mut early, mut applied) = (0_usize, 0);
    let times = args.erasures.min(50);
    for _ in 0..times {
        let (gone, stays) = (dice.handle(), dice.handle());
        let change = dice.bytes(200);
        author.ask(move |node| node.change(gone, vec![change])).await?;
        author.confirmed().await?;
        applied += 1;
        away.applied(applied).await?;
        away.offline().await?;
        // It writes while it is away, the erased document too; news wait for it at the server.
        let (mine, news) = (dice.bytes(200), dice.bytes(200));
        away.ask(move |node| {
            node.passed = Some(Vec::new());
            node.change(gone, vec![mine.clone()]);
            node.change(stays, vec![mine]);
        })
        .await?;
        author
            .ask(move |node| {
                node.give(Input::Erase(vec![gone]));
                node.change(stays, vec![news]);
            })
            .await?;
        author.confirmed().await?;
        away.online().await?;
        applied += 1;
        away.applied(applied).await?;
        away.confirmed().await?;
        let passed = away.ask(|node| node.passed.take().unwrap_or_default()).await?;
        let erased = passed.iter().position(|(_, what)| matches!(what, Passed::Erased));
        let erased = erased.context("it hasn't erased")?;
        early += passed[..erased]
            .iter()
            .filter(|(_, what)| matches!(what, Passed::Batch { .. } | Passed::Applied))
            .count();
        // What it wrote meanwhile comes to the author.
        author.confirmed().await?;
    }
    rows.push(
        Row::new(
            format!("data frames before the erasure on a device that was away, {times} times"),
            "",
        )
        .value(early as f64)
        .at_most(0.0),
    );
    Ok(json!({ "times": times, "data_before_erasure": early }))
}
