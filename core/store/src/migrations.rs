//! The schema, as the list of steps that lead to it.
//!
//! A step is never changed once released; a change of the schema is a new step. The version is SQLite's
//! `user_version`.

use rusqlite::{Connection, TransactionBehavior};

use crate::connection::APPLICATION_ID;
use crate::error::StoreError;
use crate::sync;

/// The schema version this program writes, and the newest it can read.
pub const SCHEMA_VERSION: u32 = 5;

/// Step `n` (from 0) leads from version `n` to version `n + 1`.
const STEPS: [&str; SCHEMA_VERSION as usize] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
];

/// Brings the database to [`SCHEMA_VERSION`], in one transaction.
///
/// # Errors
/// [`StoreError::NewerSchema`] when it is beyond; on any error the database is as it was.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    run(connection, &STEPS)
}

/// The schema version of the database.
///
/// # Errors
/// [`StoreError::NewerSchema`] when this program does not know it.
pub(crate) fn check_version(connection: &Connection) -> Result<u32, StoreError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema {
            found,
            supported: SCHEMA_VERSION,
        });
    }
    Ok(found)
}

fn run(connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    let supported = steps.len() as u32;
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > supported {
        return Err(StoreError::NewerSchema { found, supported });
    }
    if found == supported {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    // The triggers of sync name columns; opening the store makes them again.
    sync::drop_capture(&transaction)?;
    for step in &steps[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", supported)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn steps_run_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y"];
        run(&mut connection, &steps[..1]).unwrap();
        assert_eq!(version(&connection), 1);
        run(&mut connection, &steps).unwrap();
        run(&mut connection, &steps).unwrap();
        assert_eq!(version(&connection), 2);
        connection
            .execute("INSERT INTO a (x, y) VALUES (1, 2)", [])
            .unwrap();
    }

    #[test]
    fn a_failing_step_leaves_everything_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let steps = [
            "",
            "CREATE TABLE b (x); INSERT INTO a VALUES (1)",
            "CREATE TABLE a (x)",
        ];
        run(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection), 1);
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM a", [], |row| row.get(0))
            .unwrap();
        assert_eq!((tables, rows), (1, 0));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::NewerSchema {
                    found: 9,
                    supported: SCHEMA_VERSION
                }
            ),
            "{error}"
        );
    }
}
