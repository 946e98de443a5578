//! The peers: HNSW in memory (hnsw_rs), and plain FTS5 and sqlite-vec in an encrypted file.

// sqlite-vec is a C extension: adding it to a connection means calling its entry point.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use hnsw_rs::prelude::{DistDot, Hnsw};
use rusqlite::{Connection, ffi};
use serde_json::{Value, json};

use super::data::{Vectors, memory, question};
use super::{JUDGED, LIMIT, SideArgs, percentiles};

type EntryPoint =
    unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const ffi::sqlite3_api_routines) -> c_int;

/// HNSW with 16 neighbours; as many looked at as give it the same recall as an exact search, nearly.
pub(super) fn hnsw(args: &SideArgs) -> Result<Value> {
    let vectors = Vectors::read(&args.vectors)?;
    let all: Vec<Vec<f32>> = (0..args.count).map(|number| vectors.get(number)).collect();
    let start = Instant::now();
    let index = Hnsw::<f32, DistDot>::new(16, args.count, 16, 100, DistDot {});
    let items: Vec<(&Vec<f32>, usize)> = all.iter().zip(0..).collect();
    index.parallel_insert(&items);
    let build_s = start.elapsed().as_secs_f64();
    let (mut times, mut nearest) = (Vec::new(), Vec::new());
    for number in 0..args.queries {
        let query = vectors.question(number);
        let start = Instant::now();
        let found = index.search(&query, LIMIT, 2 * LIMIT);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        if number < JUDGED {
            nearest.push(found.iter().take(10).map(|hit| hit.d_id).collect::<Vec<_>>());
        }
    }
    // What it should have found.
    let exact: Vec<Vec<usize>> = (0..JUDGED.min(args.queries))
        .map(|number| {
            let query = vectors.question(number);
            let mut scored: Vec<(f32, usize)> = all
                .iter()
                .zip(0..)
                .map(|(vector, at)| (vector.iter().zip(&query).map(|(a, b)| a * b).sum(), at))
                .collect();
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            scored.iter().take(10).map(|hit| hit.1).collect()
        })
        .collect();
    Ok(json!({ "build_s": build_s, "search": percentiles(times), "nearest": nearest, "exact": exact }))
}

/// Plain FTS5 (any of the words, ranked by SQLite) and sqlite-vec's scan, both in one SQLCipher file with our cache size,
/// and sqlite-vec's once more with a cache that holds the file.
pub(super) fn sqlite(args: &SideArgs, dir: &Path) -> Result<Value> {
    let vectors = Vectors::read(&args.vectors)?;
    let mut connection = Connection::open(dir.join("peer.db"))?;
    connection.execute_batch(&format!(
        "PRAGMA key = \"x'{}'\"; PRAGMA cache_size = -16384",
        "ab".repeat(32)
    ))?;
    register(&connection)?;
    connection.execute_batch(
        "CREATE VIRTUAL TABLE memory USING fts5 (words);
         CREATE VIRTUAL TABLE near USING vec0 (embedding float[384] distance_metric=cosine)",
    )?;
    let transaction = connection.transaction()?;
    for number in 0..args.count {
        transaction
            .prepare_cached("INSERT INTO memory (rowid, words) VALUES (?1, ?2)")?
            .execute((number as i64, memory(number)))?;
        transaction
            .prepare_cached("INSERT INTO near (rowid, embedding) VALUES (?1, ?2)")?
            .execute((number as i64, blob(&vectors.get(number))))?;
    }
    transaction.commit()?;
    let mut text_times = Vec::new();
    for number in 0..args.queries {
        let words: Vec<String> = question(number, args.count)
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(|word| format!("\"{word}\""))
            .collect();
        let start = Instant::now();
        let found: Vec<i64> = connection
            .prepare_cached("SELECT rowid FROM memory WHERE memory MATCH ?1 ORDER BY rank LIMIT ?2")?
            .query_map((words.join(" OR "), LIMIT as i64), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        text_times.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(!found.is_empty(), "nothing found");
    }
    let mut scans = Vec::new();
    for cache_kib in [16_384, 1_048_576] {
        connection.execute_batch(&format!("PRAGMA cache_size = -{cache_kib}"))?;
        let mut times = Vec::new();
        for number in 0..args.queries.min(12) {
            let start = Instant::now();
            let found: Vec<i64> = connection
                .prepare_cached("SELECT rowid FROM near WHERE embedding MATCH ?1 AND k = ?2")?
                .query_map((blob(&vectors.question(number)), LIMIT as i64), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            // The first fills the cache.
            if number > 0 {
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            ensure!(found.len() == LIMIT, "too few found");
        }
        scans.push(percentiles(times));
    }
    Ok(json!({ "text": percentiles(text_times), "scan": scans[0], "scan_cached": scans[1] }))
}

fn blob(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn register(connection: &Connection) -> Result<()> {
    // SAFETY: the function is declared without parameters by its crate, but is an SQLite extension's entry point, of
    // exactly this type; compiled with SQLITE_CORE, it doesn't use the two pointers that are null here.
    let code = unsafe {
        let entry = std::mem::transmute::<*const (), EntryPoint>(sqlite_vec::sqlite3_vec_init as *const ());
        entry(connection.handle(), std::ptr::null_mut(), std::ptr::null())
    };
    ensure!(code == ffi::SQLITE_OK, "sqlite-vec could not be added ({code})");
    Ok(())
}
