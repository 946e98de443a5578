//! A group of settings: `g` is its name, `v` and a name each value, as JSON.

use std::collections::BTreeMap;

use super::tree::{Tree, text, text_value};
use super::{DocumentError, malformed};

/// Most settings of a group, and most bytes of each value.
const MAX_SETTINGS: usize = 4096;
const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Settings that go together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsRecord {
    /// The group.
    pub group: String,
    /// Values by name, each a JSON text.
    pub values: BTreeMap<String, String>,
}

impl SettingsRecord {
    pub(super) fn read(tree: &Tree) -> Result<Self, DocumentError> {
        let group = tree
            .text("g")
            .ok_or_else(|| malformed("settings without a group"))?;
        let values = tree
            .with_prefix("v")
            .take(MAX_SETTINGS)
            .filter_map(|(name, value)| {
                let value = text(value).filter(|value| value.len() <= MAX_VALUE_BYTES)?;
                Some((name.to_owned(), value.to_owned()))
            });
        Ok(Self {
            group: group.to_owned(),
            values: values.collect(),
        })
    }

    pub(super) fn tree(&self) -> Result<Tree, DocumentError> {
        let mut tree = Tree::default();
        tree.put("g", text_value(&self.group));
        if self.values.len() > MAX_SETTINGS {
            return Err(DocumentError::TooLarge("a group of settings"));
        }
        for (name, value) in &self.values {
            if value.len() > MAX_VALUE_BYTES {
                return Err(DocumentError::TooLarge("a setting"));
            }
            tree.put(format!("v{name}"), text_value(value));
        }
        Ok(tree)
    }

    pub(super) fn united(mut self, other: Self) -> Self {
        for (name, value) in other.values {
            self.values.entry(name).or_insert(value);
        }
        self
    }
}
