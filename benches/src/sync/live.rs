//! Pushes between devices that are online, and what a connection costs that nobody uses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hearth_protocol::id::Handle;
use hearth_sync::device::{Incoming, Output};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::node::{Dice, Net, Running};
use super::server::Server;
use super::{Row, SyncArgs, automerge, percentile};

/// Documents of a device that are edited in turns.
const DOCUMENTS: usize = 20;
/// Bytes of a change: as a short memory's correction.
const CHANGE_BYTES: usize = 120;
/// Not counted: connections find their pace.
const WARM_UP: Duration = Duration::from_secs(2);
/// Accounts that are opened at once.
const AT_ONCE: usize = 16;

/// When each change was handed to its device, by its first bytes.
type Made = Arc<Mutex<HashMap<[u8; 16], Instant>>>;

/// Latency at a steady rate of pushes.
pub(super) async fn live(args: &SyncArgs, server: &Server, rows: &mut Vec<Row>) -> Result<Value> {
    let net = Net::new(server)?;
    let accounts = accounts(&net, args.accounts, 2).await?;
    let made: Made = Arc::default();
    let (times, mut arrived) = mpsc::unbounded_channel();
    for account in &accounts {
        for device in account {
            let (made, times) = (Arc::clone(&made), times.clone());
            device
                .ask(move |node| {
                    node.watcher = Some(Box::new(move |output| {
                        let Output::Apply {
                            content: Incoming::Changes(changes),
                            ..
                        } = output
                        else {
                            return;
                        };
                        let now = Instant::now();
                        for change in changes {
                            let Some(name) = change.first_chunk::<16>() else {
                                continue;
                            };
                            let at = made.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                            if let Some(at) = at {
                                let _ = times.send((at, now));
                            }
                        }
                    }));
                })
                .await?;
        }
    }
    drop(times);
    let pushers = args.accounts * 2;
    let pause = Duration::from_secs_f64(pushers as f64 / args.rate);
    let length = WARM_UP + Duration::from_secs(args.seconds);
    let begin = tokio::time::Instant::now() + Duration::from_millis(100);
    let cpu = server.cpu_seconds();
    let own_cpu = super::server::cpu_seconds(std::process::id());
    let devices: Vec<Running> = accounts.into_iter().flatten().collect();
    let mut pushing = Vec::new();
    for (number, device) in devices.into_iter().enumerate() {
        let made = Arc::clone(&made);
        let first = begin + pause.mul_f64(number as f64 / pushers as f64);
        pushing.push(tokio::spawn(async move {
            push(&device, first, pause, begin + length, &made).await;
            device
        }));
    }
    let mut devices = Vec::new();
    let mut pushed = 0;
    for task in pushing {
        devices.push(task.await?);
    }
    let lasted = begin.elapsed().as_secs_f64();
    // What is under way arrives within seconds, or is counted as lost.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (cpu, own_cpu) = (
        server.cpu_seconds() - cpu,
        super::server::cpu_seconds(std::process::id()) - own_cpu,
    );
    drop(devices);
    let counted_from = begin.into_std() + WARM_UP;
    let mut found = Vec::new();
    while let Some((at, now)) = arrived.recv().await {
        pushed += 1;
        if at >= counted_from {
            found.push(now.duration_since(at).as_secs_f64() * 1_000.0);
        }
    }
    let lost = made.lock().unwrap_or_else(PoisonError::into_inner).len();
    ensure!(!found.is_empty(), "nothing arrived");
    let (p50, p99) = (percentile(&mut found, 0.5), percentile(&mut found, 0.99));
    let rate = (pushed + lost) as f64 / lasted;
    let per_thousand = cpu / (pushed + lost) as f64 * 1_000.0;

    let (mut peer, peer_cpu) =
        automerge::live(args.accounts, args.rate, Duration::from_secs(args.seconds)).await?;
    let whom = format!(
        "{:.0} pushes/s, {} accounts of 2 devices",
        args.rate, args.accounts
    );
    rows.push(
        Row::new(format!("live, {whom}: p50"), "ms")
            .value(p50)
            .at_most(15.0)
            .automerge(percentile(&mut peer, 0.5)),
    );
    rows.push(
        Row::new("… p99", "ms")
            .value(p99)
            .at_most(60.0)
            .automerge(percentile(&mut peer, 0.99)),
    );
    rows.push(
        Row::new("… processor time of the server for 1,000 pushes", "s")
            .value(per_thousand)
            .automerge(peer_cpu),
    );
    Ok(json!({
        "p50_ms": p50, "p95_ms": percentile(&mut found, 0.95), "p99_ms": p99, "max_ms": percentile(&mut found, 1.0),
        "pushes": pushed + lost, "not_arrived": lost, "rate": rate,
        "server_cpu_s": cpu, "generator_cpu_s": own_cpu, "server_cpu_s_per_1000": per_thousand,
        "automerge_p50_ms": percentile(&mut peer, 0.5), "automerge_p99_ms": percentile(&mut peer, 0.99),
        "automerge_arrived": peer.len(), "automerge_server_cpu_s_per_1000": peer_cpu,
    }))
}

async fn push(
    device: &Running,
    first: tokio::time::Instant,
    pause: Duration,
    end: tokio::time::Instant,
    made: &Made,
) {
    let mut dice = Dice::new();
    let handles: Vec<Handle> = (0..DOCUMENTS).map(|_| dice.handle()).collect();
    let mut next = first;
    for handle in handles.iter().cycle() {
        if next >= end {
            return;
        }
        tokio::time::sleep_until(next).await;
        next += pause;
        let change = dice.bytes(CHANGE_BYTES);
        let (made, handle) = (Arc::clone(made), *handle);
        device.tell(move |node| {
            if let Some(name) = change.first_chunk::<16>() {
                let now = Instant::now();
                made.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(*name, now);
            }
            node.change(handle, vec![change]);
        });
    }
}

/// So many accounts of so many devices, all live.
async fn accounts(net: &Net, count: usize, devices: usize) -> Result<Vec<Vec<Running>>> {
    use futures::StreamExt;
    let mut opening =
        futures::stream::iter((0..count).map(|_| net.account(devices))).buffer_unordered(AT_ONCE);
    let mut all = Vec::with_capacity(count);
    while let Some(account) = opening.next().await {
        all.push(account?);
    }
    Ok(all)
}

/// Connections that nobody uses: the server is started anew, all devices call, then its memory is looked at.
pub(super) async fn idle(args: &SyncArgs, server: &mut Server, rows: &mut Vec<Row>) -> Result<Value> {
    use futures::StreamExt;
    // Accounts of two devices: each connection carries half an account.
    let net = Net::new(server)?;
    let opening = Instant::now();
    let all: Vec<Running> = accounts(&net, args.idle.div_ceil(2), 2)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let opened_s = opening.elapsed().as_secs_f64();
    server.restart()?;
    let before = server.resident();
    let calling = Instant::now();
    let mut calls = futures::stream::iter(all.iter().map(|device| async move {
        // The old server's end may not have been heard yet.
        device.offline().await?;
        device.online().await
    }))
    .buffer_unordered(64);
    while let Some(called) = calls.next().await {
        called?;
    }
    drop(calls);
    let called_s = calling.elapsed().as_secs_f64();
    let after_calls = server.resident();
    let cpu = server.cpu_seconds();
    // Longer than a keep-alive: every connection has shown itself once.
    let rest = Duration::from_secs(args.idle_seconds);
    tokio::time::sleep(rest).await;
    let cpu = server.cpu_seconds() - cpu;
    let after = server.resident();
    let mut alive = 0_usize;
    for device in &all {
        alive += usize::from(device.ask(|node| node.live()).await?);
    }
    ensure!(
        alive == all.len(),
        "of {} connections {alive} are left",
        all.len()
    );
    let each = after.saturating_sub(before) as f64 / all.len() as f64 / 1024.0;
    rows.push(
        Row::new("idle connections that stay", "")
            .value(alive as f64)
            .at_least(10_000.0),
    );
    rows.push(
        Row::new("… memory of the server for each, half an account with it", "KiB")
            .value(each)
            .at_most(64.0),
    );
    Ok(json!({
        "connections": alive, "accounts": alive / 2, "kib_each": each,
        "server_mib": after as f64 / 1_048_576.0, "server_mib_before": before as f64 / 1_048_576.0,
        "server_mib_after_calls": after_calls as f64 / 1_048_576.0,
        "open_s": opened_s, "reconnect_s": called_s, "idle_cpu_s_per_minute": cpu / rest.as_secs_f64() * 60.0,
    }))
}
