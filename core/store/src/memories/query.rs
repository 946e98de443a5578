//! Listing and counting memories.

use rusqlite::params_from_iter;
use rusqlite::types::Value as Sql;
use serde::Serialize;

use super::{MEMORY, MEMORY_TABLES, Memory, MemoryKind, MemoryState, memory_from, with_sources};
use crate::error::StoreError;
use crate::id::ChatId;
use crate::store::Store;

/// Which memories to list, the newest first unless it says otherwise. Every field narrows; the default asks for all.
#[derive(Debug, Clone, Default)]
pub struct MemoryQuery {
    /// Only of this kind.
    pub kind: Option<MemoryKind>,
    /// Only with this status.
    pub state: Option<MemoryState>,
    /// Only those whose text contains this, without regard to (ASCII) case.
    pub text_contains: Option<String>,
    /// Only those with a source in this chat.
    pub source_chat: Option<ChatId>,
    /// Only sensitive ones, or only the others.
    pub sensitive: Option<bool>,
    /// Only pinned ones, or only the others.
    pub pinned: Option<bool>,
    /// Only those that last changed, and were last said, at this time or before; milliseconds since the Unix epoch.
    pub updated_until_ms: Option<i64>,
    /// Begins with those that last changed, or were last said, the longest ago; else with the newest.
    pub stalest_first: bool,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
    /// Leaves out this many first.
    pub offset: usize,
}

impl MemoryQuery {
    fn condition(&self) -> (String, Vec<Sql>) {
        let mut parts = vec!["1".to_owned()];
        let mut values = Vec::new();
        let mut add = |part: &str, value: Sql| {
            values.push(value);
            parts.push(part.replace('?', &format!("?{}", values.len())));
        };
        if let Some(kind) = self.kind {
            add("m.kind = ?", Sql::Text(kind.name().to_owned()));
        }
        if let Some(state) = self.state {
            add("m.status = ?", Sql::Text(state.name().to_owned()));
        }
        if let Some(text) = &self.text_contains {
            add("instr(lower(m.text), lower(?)) > 0", Sql::Text(text.clone()));
        }
        if let Some(chat) = self.source_chat {
            add(
                "m.seq IN (SELECT memory FROM memory_source WHERE chat = ?)",
                Sql::Blob(chat.as_bytes().to_vec()),
            );
        }
        if let Some(sensitive) = self.sensitive {
            add("m.sensitive = ?", Sql::Integer(sensitive.into()));
        }
        if let Some(pinned) = self.pinned {
            add("m.pinned = ?", Sql::Integer(pinned.into()));
        }
        if let Some(until) = self.updated_until_ms {
            add("m.updated_at_ms <= ?", Sql::Integer(until));
        }
        (parts.join(" AND "), values)
    }
}

/// How many memories there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryCounts {
    /// All of them.
    pub total: u64,
    /// By status, in the order of [`MemoryState::ALL`].
    pub by_state: Vec<(MemoryState, u64)>,
    /// By kind, in the order of [`MemoryKind::ALL`].
    pub by_kind: Vec<(MemoryKind, u64)>,
    /// Sensitive ones.
    pub sensitive: u64,
    /// Pinned ones.
    pub pinned: u64,
}

impl Store {
    /// The memories that `query` asks for, in its order.
    pub fn memories(&self, query: &MemoryQuery) -> Result<Vec<Memory>, StoreError> {
        let (condition, mut values) = query.condition();
        let number = |n: usize| Sql::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        values.push(query.limit.map_or(Sql::Integer(-1), number));
        values.push(number(query.offset));
        let count = values.len();
        let order = if query.stalest_first {
            "m.updated_at_ms, m.seq"
        } else {
            "m.created_at_ms DESC, m.seq DESC"
        };
        let found = self
            .connection
            .prepare_cached(&format!(
                "SELECT {MEMORY} FROM {MEMORY_TABLES} WHERE {condition}
                 ORDER BY {order} LIMIT ?{} OFFSET ?{count}",
                count - 1
            ))?
            .query_map(params_from_iter(values), memory_from)?
            .collect::<Result<Vec<_>, _>>()?;
        found
            .into_iter()
            .map(|memory| with_sources(&self.connection, memory))
            .collect()
    }

    /// How many memories `query` asks for, its limit and offset aside.
    pub fn count_memories(&self, query: &MemoryQuery) -> Result<u64, StoreError> {
        let (condition, values) = query.condition();
        let count: i64 = self
            .connection
            .prepare_cached(&format!("SELECT count(*) FROM memory AS m WHERE {condition}"))?
            .query_row(params_from_iter(values), |row| row.get(0))?;
        Ok(count as u64)
    }

    /// How many memories there are, by status and kind.
    pub fn memory_counts(&self) -> Result<MemoryCounts, StoreError> {
        let count = |query: MemoryQuery| self.count_memories(&query);
        let all = MemoryQuery::default;
        Ok(MemoryCounts {
            total: count(all())?,
            by_state: MemoryState::ALL
                .iter()
                .map(|&state| {
                    let query = MemoryQuery {
                        state: Some(state),
                        ..all()
                    };
                    Ok((state, count(query)?))
                })
                .collect::<Result<_, StoreError>>()?,
            by_kind: MemoryKind::ALL
                .iter()
                .map(|&kind| {
                    let query = MemoryQuery {
                        kind: Some(kind),
                        ..all()
                    };
                    Ok((kind, count(query)?))
                })
                .collect::<Result<_, StoreError>>()?,
            sensitive: count(MemoryQuery {
                sensitive: Some(true),
                ..all()
            })?,
            pinned: count(MemoryQuery {
                pinned: Some(true),
                ..all()
            })?,
        })
    }
}
