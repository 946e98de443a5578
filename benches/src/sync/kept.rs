//! Rows of parts that were measured in other runs. Parts that measure time want the machine to themselves, and need not all
//! be measured at once.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Row;

/// What a file keeps.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// By part.
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    /// What the peer from npm said of itself.
    pub(super) peer: Value,
}

impl Kept {
    /// Reads a file; one that isn't there keeps nothing.
    pub(super) fn read(path: Option<&Path>) -> Result<Kept> {
        let Some(path) = path.filter(|path| path.exists()) else {
            return Ok(Kept::default());
        };
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} isn't what a run keeps", path.display()))
    }

    /// Writes it.
    pub(super) fn write(&self, path: Option<&Path>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        std::fs::write(path, serde_json::to_vec(self)?).with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_a_missing_file_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        assert!(Kept::read(Some(&path)).unwrap().rows.is_empty());
        let row = Row::new("x", "B").value(3.0).at_most(4.0).automerge(2.0);
        let kept = Kept {
            rows: BTreeMap::from([("wire".to_owned(), vec![row])]),
            peer: Value::Null,
        };
        kept.write(Some(&path)).unwrap();
        let read = Kept::read(Some(&path)).unwrap();
        assert_eq!(
            (read.rows["wire"][0].met(), read.rows["wire"][0].ratio()),
            (Some(true), Some(1.5))
        );
        std::fs::write(&path, "{").unwrap();
        assert!(Kept::read(Some(&path)).is_err());
    }
}
