//! Settings: JSON values by name.

use rusqlite::OptionalExtension;
use serde_json::Value;

use crate::connection::Json;
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The value of the setting `name`, or `None` when it was never set.
    pub fn get_setting(&self, name: &str) -> Result<Option<Value>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
        Ok(statement
            .query_row([name], |row| Ok(row.get::<_, Json>(0)?.0))
            .optional()?)
    }

    /// Sets `name` to `value`; JSON `null` is a value like any other.
    pub fn set_setting(&mut self, name: &str, value: &Value) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO setting (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute((name, value.to_string()))?;
        Ok(())
    }

    /// Forgets `name`; says whether it was set.
    pub fn remove_setting(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .execute("DELETE FROM setting WHERE name = ?1", [name])?
            > 0)
    }

    /// All settings, by name.
    pub fn settings(&self) -> Result<Vec<(String, Value)>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT name, value FROM setting ORDER BY name")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Json>(1)?.0)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
