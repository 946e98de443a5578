//! Work that waits for idle time and survives a restart.
//!
//! A job is named by its kind and a key: asking for it twice is asking once. Its payload says what to work on by ids; it
//! holds no text of a chat or a memory, because erasing goes by ids.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde_json::Value;

use crate::connection::Json;
use crate::error::StoreError;
use crate::store::Store;

/// A job to put into the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// What to do, as `extract` or `embed`.
    pub kind: String,
    /// What it is done to: one job of a kind with this key is in the queue at most.
    pub key: String,
    /// What else there is to know; ids, not text.
    pub payload: Value,
    /// Not to be begun before; milliseconds since the Unix epoch.
    pub not_before_ms: i64,
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Names it in this database; never used twice.
    pub number: i64,
    /// What to do.
    pub kind: String,
    /// What it is done to.
    pub key: String,
    /// What else there is to know.
    pub payload: Value,
    /// Not to be begun before.
    pub not_before_ms: i64,
    /// How often it was begun.
    pub attempts: u32,
    /// Begun, and neither completed nor failed yet.
    pub running: bool,
}

const JOB: &str = "seq, kind, key, payload, not_before_ms, attempts, running";

fn job_from(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        number: row.get(0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        payload: row.get::<_, Json>(3)?.0,
        not_before_ms: row.get(4)?,
        attempts: row.get(5)?,
        running: row.get(6)?,
    })
}

impl Store {
    /// Puts a job into the queue. One of the same kind and key that waits gets the new payload and the later time; one
    /// that runs is done once more afterwards.
    pub fn enqueue(&mut self, job: &NewJob) -> Result<(), StoreError> {
        enqueue(&self.connection, job)
    }

    /// Begins the job that waits longest, of one of these kinds (of any, when empty), and whose time has come.
    pub fn claim_next(&mut self, kinds: &[&str], now_ms: i64) -> Result<Option<Job>, StoreError> {
        let wanted = serde_json::to_string(kinds).map_err(|error| StoreError::Invalid(error.to_string()))?;
        Ok(self
            .connection
            .prepare_cached(&format!(
                "UPDATE job SET running = 1, attempts = attempts + 1 WHERE seq =
                     (SELECT seq FROM job
                      WHERE running = 0 AND not_before_ms <= ?1
                            AND (?2 = '[]' OR kind IN (SELECT value FROM json_each(?2)))
                      ORDER BY not_before_ms, seq LIMIT 1)
                 RETURNING {JOB}"
            ))?
            .query_row((now_ms, wanted), job_from)
            .optional()?)
    }

    /// Removes a job that was done. One that was asked for again while it ran stays, to be done once more; one that is
    /// gone meanwhile (what it was to work on was erased) is none.
    pub fn complete(&mut self, job: &Job) -> Result<(), StoreError> {
        let transaction = self.transaction()?;
        transaction.execute("DELETE FROM job WHERE seq = ?1 AND again = 0", [job.number])?;
        transaction.execute(
            "UPDATE job SET running = 0, again = 0, attempts = 0 WHERE seq = ?1",
            [job.number],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Puts a job that failed back into the queue.
    pub fn fail(&mut self, job: &Job, retry_at_ms: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE job SET running = 0, again = 0, not_before_ms = ?2 WHERE seq = ?1")?
            .execute((job.number, retry_at_ms))?;
        Ok(())
    }

    /// Puts a job that was interrupted back into the queue, as if it had not been begun.
    pub fn give_back(&mut self, job: &Job, retry_at_ms: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE job SET running = 0, again = 0, not_before_ms = ?2, attempts = max(attempts - 1, 0)
                 WHERE seq = ?1",
            )?
            .execute((job.number, retry_at_ms))?;
        Ok(())
    }

    /// Removes a job, whatever its state; says whether it was there.
    pub fn remove_job(&mut self, number: i64) -> Result<bool, StoreError> {
        let removed = self
            .connection
            .execute("DELETE FROM job WHERE seq = ?1", [number])?;
        Ok(removed > 0)
    }

    /// Puts jobs that were running when the last engine ended back into the queue; says how many. Opening a store does
    /// this already.
    pub fn requeue_running(&mut self) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .execute("UPDATE job SET running = 0, again = 0 WHERE running = 1", [])?)
    }

    /// The queue, in the order in which jobs are begun.
    pub fn jobs(&self) -> Result<Vec<Job>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {JOB} FROM job ORDER BY not_before_ms, seq"))?;
        let rows = statement.query_map([], job_from)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

pub(crate) fn enqueue(connection: &Connection, job: &NewJob) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO job (kind, key, payload, not_before_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, key) DO UPDATE
             SET payload = excluded.payload, again = running,
                 not_before_ms = max(not_before_ms, excluded.not_before_ms)",
        )?
        .execute((&job.kind, &job.key, job.payload.to_string(), job.not_before_ms))?;
    Ok(())
}
