//! Our side of the bench: the same commands as `peers/llama_peer.py`, on the decoder itself.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use hearth_inference::decoder::cpu::CpuDecoder;
use hearth_inference::decoder::{Decoder, DevicePreference, LoadOptions, Logits};
use hearth_inference::gguf::GgufFile;
use serde::Deserialize;
use serde_json::{Value, json};

use super::constrained;
use crate::machine::process_memory;

/// Arguments of the measured process.
#[derive(Args, Clone)]
pub(crate) struct ChatSideArgs {
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    context_length: usize,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Prefill { tokens: Vec<u32> },
    Decode { prompt: Vec<u32>, tokens: Vec<u32> },
    Turn { cached: Vec<u32>, new: Vec<u32> },
    Constrained,
    Memory,
}

/// Answers commands until standard input ends.
pub(crate) fn run(args: &ChatSideArgs) -> Result<()> {
    let base_bytes = process_memory("VmRSS");
    let options = LoadOptions {
        threads: Some(args.threads),
        context_length: Some(args.context_length),
        device: DevicePreference::Cpu,
        ..LoadOptions::default()
    };
    let start = Instant::now();
    let file = GgufFile::open(&args.model)?;
    let decoder = CpuDecoder::load(&file, &options, &mut |_| ())?;
    drop(file);
    let about = format!("{}, {} threads", decoder.kernels_name(), decoder.threads());
    let mut sequence = Sequence {
        decoder,
        tokens: Vec::new(),
        logits: Vec::new(),
    };
    // A first token, so that whatever is put off at loading is counted as loading.
    sequence.append(&[1])?;
    println!(
        "{}",
        json!({ "ready": true, "load_ms": milliseconds(start), "kernels": about })
    );
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Op::Constrained => constrained::measure(&mut sequence.decoder, &GgufFile::open(&args.model)?)?,
            Op::Memory => json!({ "peak_bytes": process_memory("VmHWM"), "base_bytes": base_bytes }),
            timed => sequence.answer(timed)?,
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// One slot of the decoder and what it holds.
struct Sequence {
    decoder: CpuDecoder,
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl Sequence {
    fn append(&mut self, tokens: &[u32]) -> Result<()> {
        self.decoder.forward(0, tokens, Logits::Last, &mut self.logits)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Makes the slot hold exactly `tokens`, computing only what differs.
    fn hold(&mut self, tokens: &[u32]) -> Result<()> {
        let same = self
            .tokens
            .iter()
            .zip(tokens)
            .take_while(|(held, wanted)| held == wanted)
            .count();
        self.decoder.truncate(0, same);
        self.tokens.truncate(same);
        if same < tokens.len() {
            self.append(&tokens[same..])
        } else {
            Ok(())
        }
    }

    fn answer(&mut self, op: Op) -> Result<Value> {
        match op {
            Op::Prefill { tokens } => {
                self.hold(&[])?;
                let start = Instant::now();
                self.append(&tokens)?;
                Ok(json!({ "ms": milliseconds(start) }))
            }
            Op::Decode { prompt, tokens } => {
                self.hold(&prompt)?;
                let start = Instant::now();
                for token in tokens {
                    self.append(&[token])?;
                }
                Ok(json!({ "ms": milliseconds(start) }))
            }
            Op::Turn { mut cached, new } => {
                self.hold(&cached)?;
                let start = Instant::now();
                cached.extend_from_slice(&new);
                self.hold(&cached)?;
                let best = self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                let token = best.context("no logits")?.0;
                Ok(json!({ "ms": milliseconds(start), "token": token }))
            }
            Op::Constrained | Op::Memory => unreachable!("answered elsewhere"),
        }
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
