//! Measures a model file: prefill of 512 tokens, decode from 8 and from 512 tokens on, load time, memory.
//!
//! `cargo run --release -p hearth-inference --example speed -- MODEL.gguf [THREADS]`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use hearth_inference::decoder::cpu::CpuDecoder;
use hearth_inference::decoder::{Decoder, LoadOptions, Logits};
use hearth_inference::gguf::GgufFile;

const PREFILL: usize = 512;
const DECODE: usize = 64;
const REPETITIONS: usize = 3;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments
        .next()
        .context("usage: speed MODEL.gguf [THREADS]")?
        .into();
    let threads = arguments.next().map(|text| text.parse()).transpose()?;

    let start = Instant::now();
    let file = GgufFile::open(&path)?;
    let options = LoadOptions {
        threads,
        context_length: Some(1024),
        ..LoadOptions::default()
    };
    let mut model = CpuDecoder::load(&file, &options, &mut |_| {})?;
    drop(file);
    println!(
        "{} on {} threads, loaded in {:.2?}",
        model.kernels_name(),
        model.threads(),
        start.elapsed()
    );

    let tokens: Vec<u32> = (0..PREFILL as u32).map(|i| 100 + i * 7 % 1000).collect();
    let mut logits = Vec::new();
    let mut best = [0.0f64; 3];
    for _ in 0..REPETITIONS {
        model.truncate(0, 0);
        let start = Instant::now();
        model.forward(0, &tokens, Logits::Last, &mut logits)?;
        best[0] = best[0].max(PREFILL as f64 / start.elapsed().as_secs_f64());
        for (slot, depth) in [(1, 8), (2, PREFILL)] {
            model.truncate(0, depth);
            let start = Instant::now();
            for i in 0..DECODE as u32 {
                model.forward(0, &[200 + i], Logits::Last, &mut logits)?;
            }
            best[slot] = best[slot].max(DECODE as f64 / start.elapsed().as_secs_f64());
            model.truncate(0, 0);
            model.forward(0, &tokens, Logits::None, &mut logits)?;
        }
    }
    println!("prefill {PREFILL}: {:.1} tok/s", best[0]);
    println!("decode {DECODE} from 8: {:.1} tok/s", best[1]);
    println!("decode {DECODE} from {PREFILL}: {:.1} tok/s", best[2]);
    println!("{:?}", model.memory());
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        for line in status
            .lines()
            .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
        {
            println!("{line}");
        }
    }
    Ok(())
}
