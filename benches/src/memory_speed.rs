//! How fast long-term memory is: recall, storing, opening, on an encrypted file; beside HNSW, plain FTS5 and sqlite-vec.

mod data;
mod hearth;
mod peers;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hearth_inference::decoder::DevicePreference;
use hearth_inference::embedding::{EmbedOptions, TextEmbedder};
use serde_json::{Map, Value, json};

pub(crate) use data::memory;

use crate::machine::RunOn;
use crate::report::number;
use crate::{CommonArgs, report};

const MODEL: &str = "all-minilm-l6-v2";
/// Rows that a search returns, as many as recall asks of each.
const LIMIT: usize = 200;
/// Queries whose nearest ten are compared with an exact search's.
const JUDGED: usize = 50;

/// Arguments of the bench.
#[derive(Args, Clone)]
pub(crate) struct MemorySpeedArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// How many memories there are
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000])]
    pub(crate) sizes: Vec<usize>,
    /// How many queries are asked, and memories stored
    #[arg(long, default_value_t = 500)]
    pub(crate) queries: usize,
}

impl MemorySpeedArgs {
    pub(crate) fn all(common: CommonArgs) -> MemorySpeedArgs {
        MemorySpeedArgs {
            common,
            sizes: vec![10_000, 100_000],
            queries: 500,
        }
    }
}

/// Arguments of one measured process.
#[derive(Args, Clone)]
pub(crate) struct SideArgs {
    what: String,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    vectors: PathBuf,
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    count: usize,
    #[arg(long)]
    queries: usize,
}

/// Runs the bench and prints it.
pub(crate) fn run(args: &MemorySpeedArgs) -> Result<()> {
    ensure!(args.queries > 0, "at least one query");
    let model = args.common.models.join(MODEL);
    ensure!(
        model.exists(),
        "{} is missing: `make models` pulls it",
        model.display()
    );
    let work = tempfile::tempdir()?;
    let vectors = work.path().join("vectors");
    embed(&model, &vectors)?;
    let mut text = String::from(
        "| memories | figure | unit | p50 | p95 | p99 | target |\n|---|---|---|---|---|---|---|\n",
    );
    let mut by_size = Map::new();
    for &count in &args.sizes {
        let dir = work.path().join(count.to_string());
        std::fs::create_dir(&dir)?;
        let side = |what: &str| side(what, args, count, &dir, &vectors, &model);
        let filled = side("fill")?;
        let mut ours = side("hearth")?;
        let nearest = ours["nearest"].take();
        let hnsw = side("hnsw")?;
        let sqlite = side("sqlite")?;
        std::fs::remove_dir_all(&dir)?;
        let result = json!({
            "hearth": ours, "bytes_per_memory": filled["bytes"].as_f64().unwrap_or(0.0) / count as f64,
            "fill_s": filled["seconds"], "recall@10": overlap(&nearest, &hnsw["exact"]),
            "hnsw": hnsw["search"], "hnsw_build_s": hnsw["build_s"],
            "hnsw_recall@10": overlap(&hnsw["nearest"], &hnsw["exact"]),
            "fts5": sqlite["text"], "sqlite_vec": sqlite["scan"], "sqlite_vec_cached": sqlite["scan_cached"],
        });
        rows(&mut text, count, &result)?;
        by_size.insert(count.to_string(), result);
    }
    write!(
        text,
        "\n{} queries, one thread. Each search returns {LIMIT} rows, as many as recall looks at. Vectors: {} real \
         embeddings of {MODEL}, and mixtures of them. Peers: hnsw_rs 0.3 (M 16, ef 100/400, vectors in the clear in memory), \
         FTS5 with any of the question's words and sqlite-vec 0.1.9 in an SQLCipher file.\n",
        args.queries,
        data::EMBEDDED
    )?;
    println!("{text}");
    let run = RunOn::now();
    if let Some(file) = &args.common.write {
        report::write_section(file, "memory-speed", &text, &run)?;
    }
    if args.common.json {
        println!(
            "{}",
            json!({ "bench": "memory-speed", "run": run.json(), "sizes": by_size })
        );
    }
    Ok(())
}

fn rows(text: &mut String, count: usize, result: &Value) -> Result<()> {
    let ours = &result["hearth"];
    let large = count >= 100_000;
    let mut timed = |name: &str, figure: &Value, target: &str| {
        let part = |name: &str| figure[name].as_f64().map_or("–".to_owned(), number);
        writeln!(
            text,
            "| {count} | {name} | ms | {} | {} | {} | {target} |",
            part("p50"),
            part("p95"),
            part("p99")
        )
    };
    let recall = if large { "p95 ≤ 30" } else { "p99 ≤ 10" };
    timed("hybrid recall, vector given", &ours["recall"], recall)?;
    timed(
        "hybrid recall, question embedded",
        &ours["recall_embedding"],
        if large { "p95 ≤ 60" } else { "" },
    )?;
    timed("its search by words", &ours["text"], "")?;
    timed("its search by vectors", &ours["vector"], "")?;
    timed("store a memory with its vector", &ours["store"], "p95 ≤ 5")?;
    timed("peer: FTS5", &result["fts5"], "")?;
    timed("peer: HNSW", &result["hnsw"], "")?;
    timed("peer: sqlite-vec, 16 MiB cache", &result["sqlite_vec"], "")?;
    timed("peer: sqlite-vec, all cached", &result["sqlite_vec_cached"], "")?;
    let mut single = |name: &str, unit: &str, value: Option<f64>| {
        let value = value.map_or("–".to_owned(), number);
        writeln!(text, "| {count} | {name} | {unit} | {value} | | | |")
    };
    single("unlock with a passphrase", "ms", ours["open_ms"].as_f64())?;
    single("first recall after it", "ms", ours["first_ms"].as_f64())?;
    single("file, a memory", "bytes", result["bytes_per_memory"].as_f64())?;
    single(
        "peak memory",
        "MiB",
        ours["peak_bytes"].as_f64().map(|bytes| bytes / 1_048_576.0),
    )?;
    single("nearest ten found, by vectors", "%", result["recall@10"].as_f64())?;
    single(
        "peer: HNSW, nearest ten found",
        "%",
        result["hnsw_recall@10"].as_f64(),
    )?;
    single("peer: HNSW, building", "s", result["hnsw_build_s"].as_f64())?;
    Ok(())
}

/// How many percent of the exact nearest were found.
fn overlap(found: &Value, exact: &Value) -> Option<f64> {
    let (found, exact) = (found.as_array()?, exact.as_array()?);
    let (mut hits, mut wanted) = (0.0, 0.0);
    for (found, exact) in found.iter().zip(exact) {
        for one in exact.as_array()? {
            wanted += 1.0;
            if found.as_array()?.contains(one) {
                hits += 1.0;
            }
        }
    }
    (wanted > 0.0).then_some(hits / wanted * 100.0)
}

/// Embeds the first memories into a file of raw numbers.
fn embed(model: &Path, file: &Path) -> Result<()> {
    let options = EmbedOptions {
        device: DevicePreference::Cpu,
        ..EmbedOptions::default()
    };
    let embedder = TextEmbedder::load(model, options)?;
    let texts: Vec<String> = (0..data::EMBEDDED).map(memory).collect();
    let mut bytes = Vec::new();
    for batch in texts.chunks(64) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        for vector in embedder.embed(&batch)? {
            bytes.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
        }
    }
    std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}

/// One measurement in a process of its own.
fn side(
    what: &str,
    args: &MemorySpeedArgs,
    count: usize,
    dir: &Path,
    vectors: &Path,
    model: &Path,
) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(["memory-speed-side", what])
        .arg("--dir")
        .arg(dir)
        .arg("--vectors")
        .arg(vectors)
        .arg("--model")
        .arg(model)
        .args([
            "--count",
            &count.to_string(),
            "--queries",
            &args.queries.to_string(),
        ])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{what} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// One measured process.
pub(crate) fn run_side(args: &SideArgs) -> Result<()> {
    let profile = args.dir.join("profile");
    let result = match args.what.as_str() {
        "fill" => hearth::fill(args, &profile)?,
        "hearth" => hearth::measure(args, &profile)?,
        "hnsw" => peers::hnsw(args)?,
        _ => peers::sqlite(args, &args.dir)?,
    };
    println!("{result}");
    Ok(())
}

/// The median, and what 95 and 99 of a hundred stay below.
fn percentiles(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get(((times.len() as f64 * part).ceil() as usize).max(1) - 1);
    json!({ "p50": at(0.5), "p95": at(0.95), "p99": at(0.99) })
}
