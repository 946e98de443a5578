//! Text embeddings beside sentence-transformers: the same weights, texts and threads.

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hearth_inference::decoder::DevicePreference;
use hearth_inference::embedding::{EmbedOptions, TextEmbedder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::machine::{RunOn, process_memory};
use crate::samples::{Better, Figure};
use crate::side::Side;
use crate::{CommonArgs, Only, report};

const MODEL: &str = "all-minilm-l6-v2";
/// Texts of one batch.
const BATCH: usize = 64;

/// Arguments of the bench.
#[derive(Args, Clone)]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Arguments of our measured process.
#[derive(Args, Clone)]
pub(crate) struct EmbedSideArgs {
    #[arg(long)]
    model: PathBuf,
    /// Set through the environment, before the process starts
    #[arg(long)]
    threads: usize,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Embed { texts: Vec<String> },
    Memory,
}

/// Runs the bench and prints it.
pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    let folder = args.common.models.join(MODEL);
    ensure!(
        folder.exists(),
        "{} is missing: `make models` pulls it",
        folder.display()
    );
    let mut one = Figure::new("one short text", "ms", Better::Lower, None);
    let mut short = Figure::new("64 short texts", "texts/s", Better::Higher, None);
    let mut long = Figure::new("16 texts of 256 tokens", "texts/s", Better::Higher, None);
    let mut load = Figure::new("load and first text", "ms", Better::Lower, None);
    let mut memory = Figure::new("peak memory", "MiB", Better::Lower, None);
    let mut running = Vec::new();
    for which in [Only::Hearth, Only::Peer] {
        if args.common.only.is_none_or(|only| only == which) {
            running.push((which, start(args, which, &folder)?));
        }
    }
    let short_texts: Vec<String> = (0..BATCH).map(short_text).collect();
    let long_texts: Vec<String> = (0..16).map(long_text).collect();
    let mut embeddings: Vec<Vec<Vec<f64>>> = Vec::new();
    for round in 0..=args.common.repetitions {
        for (which, side) in &mut running {
            let one_ms = side.ask_number(&json!({ "op": "embed", "texts": short_texts[..1] }), "ms")?;
            let short_ms = side.ask_number(&json!({ "op": "embed", "texts": short_texts }), "ms")?;
            let answer = side.ask(&json!({ "op": "embed", "texts": long_texts }))?;
            let long_ms = answer["ms"].as_f64().context("no ms")?;
            // The first round only warms up.
            if round > 0 {
                one.side(*which).push(one_ms);
                short.side(*which).push(BATCH as f64 / short_ms * 1000.0);
                long.side(*which).push(16.0 / long_ms * 1000.0);
            } else {
                embeddings.push(serde_json::from_value(answer["embeddings"].clone())?);
            }
        }
    }
    let mut version = "not measured".to_owned();
    for (which, side) in &mut running {
        load.side(*which).push(side.ready_number("load_ms")?);
        let answer = side.ask(&json!({ "op": "memory" }))?;
        let field = |name: &str| answer[name].as_f64().with_context(|| format!("no {name}"));
        memory
            .side(*which)
            .push((field("peak_bytes")? - field("base_bytes")?) / 1_048_576.0);
        if *which == Only::Peer {
            side.ready["version"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut version);
        }
    }
    let distance = match embeddings.as_slice() {
        [ours, peers] => ours
            .iter()
            .zip(peers)
            .map(|(a, b)| cosine_distance(a, b))
            .reduce(f64::max),
        _ => None,
    };
    let figures = [one, short, long, load, memory];
    let run = RunOn::now();
    let mut text = report::table("sentence-transformers", &[(MODEL.to_owned(), &figures)]);
    if let Some(distance) = distance {
        write!(
            text,
            "\nLargest cosine distance between the two sides' embeddings: {distance:.1e} (at most 1e-3).\n"
        )?;
    }
    write!(
        text,
        "\n{} threads a side, {} repetitions in turns. Peer: {version}, on the CPU.\n",
        args.common.threads(),
        args.common.repetitions
    )?;
    println!("{text}");
    if let Some(file) = &args.common.write {
        report::write_section(file, "embed", &text, &run)?;
    }
    if args.common.json {
        let by_name: Map<String, Value> = figures
            .iter()
            .map(|figure| (figure.name.to_owned(), figure.json()))
            .collect();
        let result = json!({
            "bench": "embed", "peer": version, "threads": args.common.threads(), "run": run.json(),
            "models": { MODEL: { "figures": by_name, "largest_cosine_distance": distance } },
        });
        println!("{result}");
    }
    Ok(())
}

fn start(args: &EmbedArgs, which: Only, folder: &Path) -> Result<Side> {
    let (name, mut command) = match which {
        Only::Hearth => {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .arg("embed-side")
                .env("RAYON_NUM_THREADS", args.common.threads().to_string());
            ("hearth", command)
        }
        Only::Peer => {
            let python = args.common.peers.join("embed/bin/python");
            ensure!(
                python.exists(),
                "{} is missing: run benches/peers/setup",
                python.display()
            );
            let mut command = Command::new(python);
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/embed_peer.py"));
            ("sentence-transformers", command)
        }
    };
    command
        .arg("--model")
        .arg(folder)
        .arg("--threads")
        .arg(args.common.threads().to_string());
    Side::start(name, &mut command)
}

/// About 16 tokens, different for each index.
fn short_text(index: usize) -> String {
    const PLACES: [&str; 8] = [
        "Lisbon", "Ghent", "Oslo", "Turin", "Graz", "Cork", "Riga", "Nantes",
    ];
    const THINGS: [&str; 8] = [
        "a bicycle",
        "two tickets",
        "a dentist",
        "the keys",
        "some paint",
        "a cello",
        "new shoes",
        "the cat",
    ];
    format!(
        "I told you in {} that I was looking for {}, {index} days ago.",
        PLACES[index % 8],
        THINGS[index / 8 % 8]
    )
}

/// More than the model's 256 tokens.
fn long_text(index: usize) -> String {
    (0..24)
        .map(|part| short_text(index * 24 + part))
        .collect::<Vec<_>>()
        .join(" ")
}

/// 1 − cos of the angle between two vectors.
fn cosine_distance(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Our side: answers commands until standard input ends.
pub(crate) fn run_side(args: &EmbedSideArgs) -> Result<()> {
    let base_bytes = process_memory("VmRSS");
    let start = Instant::now();
    let options = EmbedOptions {
        device: DevicePreference::Cpu,
        ..EmbedOptions::default()
    };
    let embedder = TextEmbedder::load(&args.model, options)?;
    embedder.embed(&["first"])?;
    println!(
        "{}",
        json!({ "ready": true, "load_ms": start.elapsed().as_secs_f64() * 1000.0 })
    );
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Op::Embed { texts } => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let start = Instant::now();
                let embeddings = embedder.embed(&texts)?;
                json!({ "ms": start.elapsed().as_secs_f64() * 1000.0, "embeddings": embeddings })
            }
            Op::Memory => json!({ "peak_bytes": process_memory("VmHWM"), "base_bytes": base_bytes }),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
