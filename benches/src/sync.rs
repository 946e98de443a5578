//! Sync and erasure: bytes, round trips, latency, memory, beside Automerge's own sync and a server from npm.
//!
//! A real `hearth-sync-server` runs in a process of its own. Devices are real device machines on real QUIC connections, with
//! their journals in memory, where a whole engine would be too heavy; new devices and erasures run in whole engines.

mod automerge;
mod engines;
mod envelope;
mod erase;
mod kept;
mod live;
mod node;
mod records;
mod repo;
mod server;
mod sizes;
mod stored;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::machine::RunOn;
use crate::report::number;
use crate::{CommonArgs, report};
use kept::Kept;
use server::Server;

/// Arguments of the bench.
#[derive(Args, Clone)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The server's program [default: hearth-sync-server beside this one]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Only these parts: reconnect, wire, envelope, stored, live, idle, engines, erase, away
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    /// Numbers of documents that devices connect again with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 10_000])]
    documents: Vec<usize>,
    /// Keep rows in this file, and take those of parts that aren't wanted from it
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Documents on the server's disk
    #[arg(long, default_value_t = 10_000)]
    stored: usize,
    /// Accounts that push
    #[arg(long, default_value_t = 50)]
    accounts: usize,
    /// Pushes a second, of all accounts together
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// How long they push
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Connections that nobody uses
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// How long they rest before the server's memory is looked at
    #[arg(long, default_value_t = 45)]
    idle_seconds: u64,
    /// Memories that a new device fetches
    #[arg(long, default_value_t = 10_000)]
    memories: usize,
    /// Erasures of each kind
    #[arg(long, default_value_t = 100)]
    erasures: usize,
    /// Small sizes: to see that it works, not to be quoted
    #[arg(long)]
    quick: bool,
}

impl SyncArgs {
    pub(crate) fn all(common: CommonArgs) -> SyncArgs {
        SyncArgs {
            common,
            server: None,
            parts: Vec::new(),
            documents: vec![1, 1_000, 10_000],
            keep: None,
            stored: 10_000,
            accounts: 50,
            rate: 1_000.0,
            seconds: 30,
            idle: 10_000,
            idle_seconds: 45,
            memories: 10_000,
            erasures: 100,
            quick: false,
        }
    }

    fn sized(&self) -> SyncArgs {
        if !self.quick {
            return self.clone();
        }
        SyncArgs {
            documents: vec![1, 100],
            stored: 200,
            accounts: 4,
            rate: 40.0,
            seconds: 3,
            idle: 20,
            idle_seconds: 3,
            memories: 200,
            erasures: 3,
            ..self.clone()
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

/// Arguments of the peer's server process.
#[derive(Args, Clone)]
pub(crate) struct SideArgs {
    #[arg(long, default_value_t = 0)]
    documents: usize,
}

/// A line of the table.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    name: String,
    unit: String,
    value: Option<f64>,
    /// The target, and whether more is better.
    target: Option<(f64, bool)>,
    automerge: Option<f64>,
    repo: Option<f64>,
}

impl Row {
    fn new(name: impl Into<String>, unit: &str) -> Row {
        Row {
            name: name.into(),
            unit: unit.into(),
            value: None,
            target: None,
            automerge: None,
            repo: None,
        }
    }

    fn value(mut self, value: f64) -> Row {
        self.value = Some(value);
        self
    }

    fn at_most(mut self, target: f64) -> Row {
        self.target = Some((target, false));
        self
    }

    fn at_least(mut self, target: f64) -> Row {
        self.target = Some((target, true));
        self
    }

    fn automerge(mut self, value: f64) -> Row {
        self.automerge = Some(value);
        self
    }

    fn met(&self) -> Option<bool> {
        let (target, more) = self.target?;
        let value = self.value?;
        Some(if more { value >= target } else { value <= target })
    }

    /// Ours to the leaner peer's.
    fn ratio(&self) -> Option<f64> {
        let peer = self.automerge.or(self.repo).filter(|peer| *peer > 0.0)?;
        Some(self.value? / peer)
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.name, "unit": self.unit, "hearth": self.value, "target": self.target.map(|target| target.0),
            "met": self.met(), "automerge": self.automerge, "automerge_repo": self.repo, "ratio": self.ratio(),
        })
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| figure | unit | hearth | target | raw Automerge | automerge-repo | ratio |\n|---|---|---|---|---|---|---|\n",
    );
    let shown = |value: Option<f64>| {
        value.map_or(String::new(), |value| {
            if value.fract() == 0.0 {
                format!("{value:.0}")
            } else {
                number(value)
            }
        })
    };
    for row in rows {
        let target = row.target.map_or(String::new(), |(target, more)| {
            let mark = if row.met() == Some(true) { "✓" } else { "✗" };
            format!("{} {} {mark}", if more { "≥" } else { "≤" }, shown(Some(target)))
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {target} | {} | {} | {} |",
            row.name,
            row.unit,
            shown(row.value),
            shown(row.automerge),
            shown(row.repo),
            row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"))
        );
    }
    text
}

/// What 100 · `part` of a hundred stay below.
fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Runs the bench and prints it.
pub(crate) fn run(args: &SyncArgs) -> Result<()> {
    let args = args.sized();
    let program = server::program(args.server.as_deref())?;
    let runtime = runtime()?;
    let (mut rows, mut details, mut failed) = (Vec::new(), Map::new(), Vec::<String>::new());
    let mut kept = Kept::read(args.keep.as_deref())?;
    let mut places = Vec::new();
    // A part has a server of its own, so that none carries what another left.
    for part in [
        "reconnect",
        "wire",
        "envelope",
        "stored",
        "live",
        "idle",
        "engines",
        "erase",
        "away",
    ] {
        if !args.wants(part) {
            rows.extend(kept.rows.get(part).into_iter().flatten().cloned());
            continue;
        }
        let first = rows.len();
        let start = Instant::now();
        let mut server = Server::start(&program)?;
        let detail = runtime
            .block_on(async {
                match part {
                    "reconnect" => sizes::reconnect(&args, &server, &mut rows).await,
                    "wire" => sizes::wire(&server, &mut rows).await,
                    "envelope" => envelope::measure(if args.quick { 20 } else { 300 }, &mut rows),
                    "stored" => stored::measure(&args, &server, &mut rows).await,
                    "live" => live::live(&args, &server, &mut rows).await,
                    "idle" => live::idle(&args, &mut server, &mut rows).await,
                    "engines" => engines::measure(&args, &server, &mut rows).await,
                    "erase" => erase::server(&args, &server, &mut rows).await,
                    _ => erase::away(&args, &server, &mut rows).await,
                }
            })
            .context(part);
        // What the other parts find is worth having.
        let detail = detail.unwrap_or_else(|error| json!({ "failed": format!("{error:#}") }));
        eprintln!(
            "sync: {part} took {:.1} s: {detail}",
            start.elapsed().as_secs_f64()
        );
        if let Some(why) = detail["failed"].as_str() {
            failed.push(format!("{part}: {why}"));
        } else {
            places.push((part, first..rows.len()));
        }
        details.insert(part.into(), detail);
    }
    let repo = repo::measure(&args, &mut rows).unwrap_or_else(|error| {
        failed.push(format!("automerge-repo: {error:#}"));
        json!({})
    });
    details.insert("automerge_repo".into(), repo.clone());
    for (part, place) in places {
        kept.rows.insert(part.into(), rows[place].to_vec());
    }
    if repo["version"].is_string() {
        kept.peer = json!({ "version": repo["version"], "node": repo["node"] });
    }
    kept.write(args.keep.as_deref())?;
    let repo = &kept.peer;
    let mut text = table(&rows);
    write!(
        text,
        "\nRatio: ours to raw Automerge's. The devices of pushes, idle connections and server erasures are device machines with \
         journals in memory, on the server's machine; their work is in the latency. Peers: raw Automerge is the sync protocol of \
         the automerge crate 0.12 over the same QUIC, in memory, in the clear; automerge-repo {} on Node {} with its WebSocket \
         server and files. {}\n",
        repo["version"].as_str().unwrap_or("–"),
        repo["node"].as_str().unwrap_or("–"),
        if args.quick {
            "Small sizes: not to be quoted."
        } else {
            ""
        }
    )?;
    for why in &failed {
        let _ = writeln!(text, "\nNot measured, as it failed: {why}.");
    }
    println!("{text}");
    let run = RunOn::now();
    if let Some(file) = &args.common.write {
        report::write_section(file, "sync", &text, &run)?;
    }
    if args.common.json {
        let figures: Vec<Value> = rows.iter().map(Row::json).collect();
        println!(
            "{}",
            json!({ "bench": "sync", "run": run.json(), "figures": figures, "details": details })
        );
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// The peer's server process.
pub(crate) fn run_side(args: &SideArgs) -> Result<()> {
    runtime()?.block_on(automerge::serve(args.documents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "they are the values themselves")]
    fn percentiles_are_of_what_was_measured() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut values, 1.0), 100.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_row_says_whether_its_target_is_met_and_the_ratio_to_the_leaner_peer() {
        let row = Row::new("x", "B").value(150.0).at_most(160.0);
        assert_eq!((row.met(), row.ratio()), (Some(true), None));
        let mut row = Row::new("x", "")
            .value(9_000.0)
            .at_least(10_000.0)
            .automerge(4_500.0);
        row.repo = Some(1.0);
        assert_eq!((row.met(), row.ratio()), (Some(false), Some(2.0)));
        assert!(table(&[row]).ends_with("| x |  | 9000 | ≥ 10000 ✗ | 4500 | 1 | 2.00 |\n"));
    }
}
