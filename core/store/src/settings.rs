//! Settings: JSON values by name.

use serde_json::Value;

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The value of the setting `name`, or `None` when it was never set.
    pub fn get_setting(&self, name: &str) -> Result<Option<Value>, StoreError> {
        let _ = name;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Sets `name` to `value`; JSON `null` is a value like any other.
    pub fn set_setting(&mut self, name: &str, value: &Value) -> Result<(), StoreError> {
        let _ = (name, value);
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// Forgets `name`; says whether it was set.
    pub fn remove_setting(&mut self, name: &str) -> Result<bool, StoreError> {
        let _ = name;
        Err(StoreError::Invalid("not built yet".into()))
    }

    /// All settings, by name.
    pub fn settings(&self) -> Result<Vec<(String, Value)>, StoreError> {
        Err(StoreError::Invalid("not built yet".into()))
    }
}
