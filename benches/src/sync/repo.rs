//! The peer from npm: automerge-repo with its WebSocket server, measured by a script of ours in Node.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Row, SyncArgs};

/// Runs the script, and puts what it found beside ours. Without the peer there is nothing to put.
pub(super) fn measure(args: &SyncArgs, rows: &mut [Row]) -> Result<Value> {
    let folder = args.common.peers.join("sync");
    if !folder.join("node_modules").is_dir() {
        eprintln!("sync: automerge-repo isn't there: benches/peers/setup sync");
        return Ok(json!({}));
    }
    let wanted: Vec<&str> = ["reconnect", "wire", "live", "idle", "engines"]
        .into_iter()
        .filter(|part| args.wants(part))
        .collect();
    if wanted.is_empty() {
        return Ok(json!({}));
    }
    // Modules are looked for beside the script.
    std::fs::write(folder.join("repo.mjs"), include_str!("../../peers/sync/repo.mjs"))?;
    let documents: Vec<String> = args.documents.iter().map(ToString::to_string).collect();
    let output = Command::new("node")
        .arg(folder.join("repo.mjs"))
        .arg(
            json!({
                "parts": wanted, "documents": args.documents, "accounts": args.accounts, "rate": args.rate,
                "seconds": args.seconds, "memories": args.memories, "idle": args.idle.min(1_000),
            })
            .to_string(),
        )
        .stderr(Stdio::inherit())
        .output()
        .context("starting node")?;
    ensure!(output.status.success(), "automerge-repo: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Value = serde_json::from_str(text.lines().last().context("it said nothing")?)?;
    let mut put = |start: &str, value: &Value| {
        let row = rows.iter_mut().find(|row| row.name.starts_with(start));
        if let (Some(row), Some(value)) = (row, value.as_f64()) {
            row.repo = Some(value);
        }
    };
    for count in &documents {
        let found = &found["reconnect"][count];
        put(
            &format!("reconnect, nothing new, 10 devices, {count} documents"),
            &found["bytes"],
        );
        put(
            &format!("… round trips of the application, {count} documents"),
            &found["round_trips"],
        );
    }
    put("a small edit", &found["wire"]["pin"]);
    put("a correction", &found["wire"]["correction"]);
    put("live, ", &found["live"]["p50"]);
    put("… p99", &found["live"]["p99"]);
    put("… processor time", &found["live"]["server_cpu_s_per_1000"]);
    put("… memory of the server", &found["idle"]["kib_each"]);
    put("a new device", &found["join"]["seconds"]);
    Ok(found)
}
