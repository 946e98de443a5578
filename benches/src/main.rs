//! Measures Hearth with its peers beside it, on the same machine, files and threads, in the same run.
//!
//! `cargo run --release -p hearth-benches -- <bench> [--json]`. Every measured side runs in a process of its own, which loads its
//! model and then answers one command at a time ([`side`]); repetitions alternate between the sides, so that a machine that slows down
//! slows both. The peers come from `benches/peers/setup`.

mod chat;
mod embed;
mod extraction;
mod machine;
mod memory_speed;
mod recall;
mod report;
mod samples;
mod share;
mod side;
mod supersession;
mod sync;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures Hearth with its peers beside it")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Language models: prefill, decode, first token of a late turn, load time, memory; beside llama.cpp
    Chat(chat::ChatArgs),
    /// Text embeddings: texts per second and the distance of the answers; beside sentence-transformers
    Embed(embed::EmbedArgs),
    /// Recall of past turns: evidence found among the first; beside BM25, vectors alone and fused ranks
    Recall(recall::RecallArgs),
    /// Long-term memory: recall, storing and opening on an encrypted file; beside HNSW, FTS5 and sqlite-vec
    MemorySpeed(memory_speed::MemorySpeedArgs),
    /// Facts in dialogues: how many are found, and how many of those found are right
    Extraction(extraction::ExtractionArgs),
    /// Facts that change: is the current value right, was anything thrown out wrongly
    Supersession(supersession::SupersessionArgs),
    /// Sync and erasure: bytes, round trips, latency, memory; beside Automerge's own sync and automerge-repo
    Sync(sync::SyncArgs),
    /// Every bench, one after the other
    All(CommonArgs),
    /// One measured side of `chat`: commands on standard input, answers on standard output
    #[command(hide = true)]
    ChatSide(chat::ChatSideArgs),
    /// One measured side of `embed`
    #[command(hide = true)]
    EmbedSide(embed::EmbedSideArgs),
    /// One measured process of `memory-speed`
    #[command(hide = true)]
    MemorySpeedSide(memory_speed::SideArgs),
    /// The server of a peer of `sync`
    #[command(hide = true)]
    SyncSide(sync::SideArgs),
}

/// What every bench takes.
#[derive(Args, Clone)]
struct CommonArgs {
    /// Folder of the models, one folder per model id [default: $HEARTH_TEST_MODELS or .cache/models]
    #[arg(long, default_value_os_t = folder("HEARTH_TEST_MODELS", ".cache/models"), hide_default_value = true)]
    models: PathBuf,
    /// Folder of the peers' environments, as `benches/peers/setup` makes it [default: $HEARTH_PEERS or .cache/peers]
    #[arg(long, default_value_os_t = folder("HEARTH_PEERS", ".cache/peers"), hide_default_value = true)]
    peers: PathBuf,
    /// Measure only us, or only the peer
    #[arg(long)]
    only: Option<Only>,
    /// How often each thing is measured on each side
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Threads of each side [default: the machine's cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
    /// Replace this bench's section of the given file (`make bench`: benches/RESULTS.md)
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn folder(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
}

impl CommonArgs {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(machine::cores)
    }
}

/// A side to measure alone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Hearth
    Hearth,
    /// The peer
    Peer,
}

fn main() -> Result<()> {
    match Cli::parse().bench {
        Bench::Chat(args) => chat::run(&args),
        Bench::Embed(args) => embed::run(&args),
        Bench::Recall(args) => recall::run(&args),
        Bench::MemorySpeed(args) => memory_speed::run(&args),
        Bench::Extraction(args) => extraction::run(&args),
        Bench::Supersession(args) => supersession::run(&args),
        Bench::Sync(args) => sync::run(&args),
        Bench::All(common) => {
            chat::run(&chat::ChatArgs::all(common.clone())).context("chat")?;
            embed::run(&embed::EmbedArgs {
                common: common.clone(),
            })
            .context("embed")?;
            memory_speed::run(&memory_speed::MemorySpeedArgs::all(common.clone())).context("memory-speed")?;
            recall::run(&recall::RecallArgs::all(common.clone())).context("recall")?;
            supersession::run(&supersession::SupersessionArgs::all(common.clone()))
                .context("supersession")?;
            extraction::run(&extraction::ExtractionArgs::all(common.clone())).context("extraction")?;
            sync::run(&sync::SyncArgs::all(common)).context("sync")
        }
        Bench::ChatSide(args) => chat::side::run(&args),
        Bench::EmbedSide(args) => embed::run_side(&args),
        Bench::MemorySpeedSide(args) => memory_speed::run_side(&args),
        Bench::SyncSide(args) => sync::run_side(&args),
    }
}
