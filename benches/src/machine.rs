//! What a result was measured on.

use std::process::Command;

use serde_json::{Value, json};
use time::OffsetDateTime;

/// The processor's threads that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Machine, commit and date of a run.
pub(crate) struct RunOn {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) date: String,
}

impl RunOn {
    pub(crate) fn now() -> RunOn {
        let today = OffsetDateTime::now_utc().date();
        RunOn {
            machine: machine(),
            commit: commit(),
            date: today.to_string(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "machine": self.machine, "commit": self.commit, "date": self.date })
    }
}

/// One value of this process's `/proc/self/status`, in bytes; 0 where there is no such file.
pub(crate) fn process_memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = value("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let flags = value("flags").unwrap_or_default();
    let notable: Vec<&str> = ["avx2", "avx512_vnni", "amx_int8"]
        .into_iter()
        .filter(|wanted| flags.split_whitespace().any(|flag| flag == *wanted))
        .collect();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0);
    format!(
        "{name}, {} cores, {} GiB, {}",
        cores(),
        (kib + 524_288) / 1_048_576,
        notable.join(" ")
    )
}

/// The short commit id, with `+` when the tree had changes; empty outside a repository.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let id = git(&["rev-parse", "--short=10", "HEAD"]).unwrap_or_default();
    let changed = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!benches/RESULTS.md",
    ]);
    if changed.is_none_or(|changes| changes.is_empty()) {
        id
    } else {
        format!("{id}+")
    }
}
