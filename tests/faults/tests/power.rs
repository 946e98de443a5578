//! What is left of a database after faults of the disk below it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use hearth_faults::{Cut, Disk, Fault};
use rusqlite::Connection;

/// A little random number generator, so that a seed says everything.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn open(folder: &Path, synchronous: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(folder.join("some.db"))?;
    connection.execute_batch(&format!(
        "PRAGMA key = \"x'{}'\"; PRAGMA synchronous = {synchronous};",
        "07".repeat(32)
    ))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    Ok(connection)
}

fn insert(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let text = format!("{number} ").repeat(300);
    connection
        .execute("INSERT INTO line (number, text) VALUES (?1, ?2)", (number, text))
        .map(drop)?;
    if number % 7 == 3 {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Writes lines until the fault comes; how many were acknowledged, and how many are there afterwards.
fn life(seed: u64, synchronous: &str, fault: Fault, cut: Cut) -> (i64, rusqlite::Result<i64>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::of(folder.path()).unwrap();
    let connection = open(folder.path(), synchronous).unwrap();
    connection
        .execute_batch("CREATE TABLE line (number INTEGER PRIMARY KEY, text TEXT)")
        .unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let mut random = Random::new(seed);
    disk.plan(random.below(120), fault);
    let mut acknowledged = 0;
    for number in 0..40 {
        if insert(&connection, number).is_err() {
            break;
        }
        acknowledged += 1;
    }
    disk.kill();
    drop(connection);
    disk.restart(cut, &mut |limit| random.below(limit)).unwrap();
    let found = open(folder.path(), "FULL").and_then(|connection| {
        connection.query_row(
            "SELECT count(*), coalesce(max(number), -1) FROM line",
            [],
            |row| {
                let (count, last): (i64, i64) = (row.get(0)?, row.get(1)?);
                assert_eq!(count, last + 1, "seed {seed}: a hole");
                Ok(count)
            },
        )
    });
    (acknowledged, found)
}

#[test]
fn what_was_acknowledged_survives_every_end() {
    for seed in 0..150 {
        for (fault, cut) in [
            (Fault::Crash, Cut::Power),
            (Fault::CrashWithin, Cut::Power),
            (Fault::CrashWithin, Cut::Process),
            (Fault::Broken, Cut::Power),
            (Fault::Full, Cut::Power),
        ] {
            let (acknowledged, found) = life(seed, "FULL", fault, cut);
            let found = found.unwrap_or_else(|error| panic!("seed {seed}: {fault:?}: {error}"));
            // The one that was being written may be there.
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "seed {seed}: {fault:?}, {cut:?}: {found} of {acknowledged}"
            );
        }
    }
}

#[test]
fn what_isnt_synced_is_lost() {
    let lost = (0..60)
        .filter(|seed| {
            let (acknowledged, found) = life(*seed, "OFF", Fault::Crash, Cut::Power);
            found.map_or(true, |found| found < acknowledged)
        })
        .count();
    assert!(lost > 20, "{lost} of 60");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::of(folder.path()).unwrap();
    let connection = open(folder.path(), "FULL").unwrap();
    connection
        .execute_batch("CREATE TABLE line (number INTEGER PRIMARY KEY, text TEXT)")
        .unwrap();
    disk.plan(0, Fault::Full);
    let refused = insert(&connection, 1).unwrap_err();
    assert_eq!(
        refused.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull),
        "{refused}"
    );
    assert!(disk.is_full());
    disk.relieve();
    insert(&connection, 1).unwrap();
    assert!(disk.counts().failed > 0);
}

#[test]
fn a_log_that_somebody_reads_isnt_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::of(folder.path()).unwrap();
    let connection = open(folder.path(), "FULL").unwrap();
    connection.execute_batch("PRAGMA busy_timeout = 60000").unwrap();
    connection
        .execute_batch("CREATE TABLE line (number INTEGER PRIMARY KEY, text TEXT)")
        .unwrap();
    let busy = || -> bool {
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .unwrap()
    };
    disk.read_elsewhere(true);
    insert(&connection, 1).unwrap();
    assert!(busy());
    insert(&connection, 2).unwrap();
    disk.read_elsewhere(false);
    assert!(!busy());
}
