//! Language models beside llama.cpp: the same file, the same tokens, the same threads, f16 keys and values.

mod constrained;
pub(crate) mod side;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Map, Value, json};

pub(crate) use self::side::ChatSideArgs;
use crate::machine::RunOn;
use crate::samples::{Better, Figure};
use crate::side::Side;
use crate::{CommonArgs, Only, report};

/// The models measured when none is named: folder and file under `--models`.
const MODELS: [(&str, &str); 2] = [
    ("smollm2-135m-instruct-q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    (
        "qwen2.5-coder-0.5b-instruct-q4_k_m",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ),
];
/// Room for tokens on both sides.
const CONTEXT_LENGTH: usize = 2048;
const PREFILL_TOKENS: usize = 512;
const DECODE_TOKENS: usize = 128;
/// The late turn: a chat of 2,000 tokens of which all but the newest turn were computed before.
const CHAT_TOKENS: usize = 2000;
const TURN_TOKENS: usize = 100;

/// Arguments of the bench.
#[derive(Args, Clone)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Measure this model id (a folder under --models) only; may be repeated
    #[arg(long)]
    model: Vec<String>,
    /// llama.cpp's flash attention: auto, on or off
    #[arg(long, default_value = "auto")]
    flash_attention: String,
}

impl ChatArgs {
    /// Every model, with these common arguments.
    pub(crate) fn all(common: CommonArgs) -> ChatArgs {
        ChatArgs {
            common,
            model: Vec::new(),
            flash_attention: "auto".to_owned(),
        }
    }
}

/// Everything measured on one model.
struct ModelResult {
    id: String,
    figures: Vec<Figure>,
    /// What constrained output costs on our side; absent when we weren't measured.
    constrained: Option<Value>,
}

/// Runs the bench and prints it.
pub(crate) fn run(args: &ChatArgs) -> Result<()> {
    let mut models: Vec<(String, PathBuf)> = Vec::new();
    if args.model.is_empty() {
        models.extend(MODELS.map(|(id, file)| (id.to_owned(), args.common.models.join(id).join(file))));
    }
    for id in &args.model {
        models.push((id.clone(), only_gguf(&args.common.models.join(id))?));
    }
    let mut results = Vec::new();
    let mut peer_about = Value::Null;
    for (id, file) in models {
        ensure!(
            file.exists(),
            "{} is missing: `make models` pulls it",
            file.display()
        );
        eprintln!("chat: {id}");
        let (result, about) = measure(args, id, &file)?;
        results.push(result);
        peer_about = about;
    }
    let run = RunOn::now();
    let subjects: Vec<_> = results
        .iter()
        .map(|result| (result.id.clone(), result.figures.as_slice()))
        .collect();
    let mut text = report::table("llama.cpp", &subjects);
    for result in &results {
        if let Some(cost) = &result.constrained {
            let field = |name: &str| cost[name].as_f64().map_or("–".to_owned(), report::number);
            write!(
                text,
                "\nConstrained JSON, {}: {} µs a token, {} % of decoding (at most 5 %).",
                result.id,
                field("microseconds_per_token"),
                field("percent_of_decode")
            )?;
        }
    }
    let system = peer_about["system"].as_str().unwrap_or_default();
    let version = peer_about["version"].as_str().unwrap_or("not measured");
    write!(
        text,
        "\n\n{} threads a side, {} repetitions in turns. Peer: {version}, flash attention {}; {system}\n",
        args.common.threads(),
        args.common.repetitions,
        args.flash_attention
    )?;
    println!("{text}");
    if let Some(file) = &args.common.write {
        report::write_section(file, "chat", &text, &run)?;
    }
    if args.common.json {
        println!("{}", to_json(args, &results, &peer_about, &run));
    }
    Ok(())
}

fn to_json(args: &ChatArgs, results: &[ModelResult], peer_about: &Value, run: &RunOn) -> Value {
    let mut models = Map::new();
    for result in results {
        let mut figures = Map::new();
        for figure in &result.figures {
            figures.insert(figure.name.to_owned(), figure.json());
        }
        models.insert(
            result.id.clone(),
            json!({ "figures": figures, "constrained_json": result.constrained }),
        );
    }
    json!({
        "bench": "chat", "peer": "llama.cpp", "peer_about": peer_about, "threads": args.common.threads(),
        "run": run.json(), "models": models,
    })
}

/// The only GGUF file in a model's folder.
fn only_gguf(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    ensure!(
        files.len() == 1,
        "{} has {} GGUF files, not one",
        folder.display(),
        files.len()
    );
    Ok(files[0].clone())
}

fn start_hearth(args: &ChatArgs, file: &Path) -> Result<Side> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("chat-side").arg("--model").arg(file);
    command.arg("--threads").arg(args.common.threads().to_string());
    command.arg("--context-length").arg(CONTEXT_LENGTH.to_string());
    Side::start("hearth", &mut command)
}

fn start_peer(args: &ChatArgs, file: &Path) -> Result<Side> {
    let python = args.common.peers.join("llama/bin/python");
    ensure!(
        python.exists(),
        "{} is missing: run benches/peers/setup",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/llama_peer.py");
    let mut command = Command::new(python);
    command.arg(script).arg("--model").arg(file);
    command.arg("--threads").arg(args.common.threads().to_string());
    command.arg("--context-length").arg(CONTEXT_LENGTH.to_string());
    command.args(["--flash-attention", &args.flash_attention]);
    Side::start("llama.cpp", &mut command)
}

fn measure(args: &ChatArgs, id: String, file: &Path) -> Result<(ModelResult, Value)> {
    let mut prefill = Figure::new("prefill 512", "tok/s", Better::Higher, Some(0.3));
    let mut decode_8 = Figure::new("decode 128 @ 8", "tok/s", Better::Higher, Some(0.6));
    let mut decode_512 = Figure::new("decode 128 @ 512", "tok/s", Better::Higher, Some(0.6));
    let mut turn = Figure::new("first token, turn 10", "ms", Better::Lower, Some(1.5));
    let mut load = Figure::new("load and first token", "ms", Better::Lower, None);
    let mut memory = Figure::new("peak memory", "MiB", Better::Lower, Some(1.3));

    let sides: Vec<Only> = [Only::Hearth, Only::Peer]
        .into_iter()
        .filter(|side| args.common.only.is_none_or(|only| only == *side))
        .collect();
    let start = |side: Only| match side {
        Only::Hearth => start_hearth(args, file),
        Only::Peer => start_peer(args, file),
    };
    let tokens = token_stream(CHAT_TOKENS);

    // Load time and memory: a fresh process each time.
    for _ in 0..args.common.repetitions.min(3) {
        for &which in &sides {
            let mut side = start(which)?;
            load.side(which).push(side.ready_number("load_ms")?);
            side.ask(&prefill_command(&tokens))?;
            side.ask(&decode_command(&tokens, PREFILL_TOKENS, 16))?;
            let answer = side.ask(&json!({ "op": "memory" }))?;
            let field = |name: &str| answer[name].as_f64().with_context(|| format!("no {name}"));
            memory
                .side(which)
                .push((field("peak_bytes")? - field("base_bytes")?) / 1_048_576.0);
        }
    }

    // Speed: both processes stay, and take turns.
    let mut running = Vec::new();
    for &which in &sides {
        running.push((which, start(which)?));
    }
    for round in 0..=args.common.repetitions {
        for (which, side) in &mut running {
            let prefill_ms = side.ask_number(&prefill_command(&tokens), "ms")?;
            let decode_8_ms = side.ask_number(&decode_command(&tokens, 8, DECODE_TOKENS), "ms")?;
            let decode_512_ms =
                side.ask_number(&decode_command(&tokens, PREFILL_TOKENS, DECODE_TOKENS), "ms")?;
            let turn_ms = side.ask_number(&turn_command(&tokens), "ms")?;
            // The first round only warms caches up.
            if round > 0 {
                prefill
                    .side(*which)
                    .push(PREFILL_TOKENS as f64 / prefill_ms * 1000.0);
                decode_8
                    .side(*which)
                    .push(DECODE_TOKENS as f64 / decode_8_ms * 1000.0);
                decode_512
                    .side(*which)
                    .push(DECODE_TOKENS as f64 / decode_512_ms * 1000.0);
                turn.side(*which).push(turn_ms);
            }
        }
    }
    let mut constrained = None;
    let mut about = Value::Null;
    for (which, side) in &mut running {
        match which {
            Only::Hearth => {
                let answer = side.ask(&json!({ "op": "constrained" }))?;
                constrained = answer.get("microseconds_per_token").is_some().then_some(answer);
            }
            Only::Peer => about = side.ready.clone(),
        }
    }
    let figures = vec![prefill, decode_8, decode_512, turn, load, memory];
    Ok((
        ModelResult {
            id,
            figures,
            constrained,
        },
        about,
    ))
}

fn prefill_command(tokens: &[u32]) -> Value {
    json!({ "op": "prefill", "tokens": tokens[..PREFILL_TOKENS] })
}

fn decode_command(tokens: &[u32], depth: usize, count: usize) -> Value {
    json!({ "op": "decode", "prompt": tokens[..depth], "tokens": tokens[depth..depth + count] })
}

fn turn_command(tokens: &[u32]) -> Value {
    let (cached, new) = tokens.split_at(CHAT_TOKENS - TURN_TOKENS);
    json!({ "op": "turn", "cached": cached, "new": new })
}

/// Token ids without meaning, the same in every run; what is computed doesn't depend on which they are. All are in the range that every
/// vocabulary has, past the special ones.
fn token_stream(count: usize) -> Vec<u32> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1000 + (state >> 8) % 20_000
    };
    std::iter::repeat_with(next).take(count).collect()
}
