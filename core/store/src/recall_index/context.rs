//! What ranking asks about rows beyond their own: what stands beside a turn, and how near it is.

use std::collections::HashMap;

use rusqlite::OptionalExtension;

use super::RowKey;
use crate::error::StoreError;
use crate::store::Store;
use crate::vectors::Index;

/// The turns beside a turn, each with the time it was said, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The message before it, whatever its role.
    pub previous: Option<(RowKey, i64)>,
    /// The newest message after it.
    pub next: Option<(RowKey, i64)>,
}

impl Store {
    /// The turns beside each of these turns, in their order; none for a row that is gone.
    pub fn neighbours(&self, turns: &[RowKey]) -> Result<Vec<Neighbours>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT p.seq, p.created_at_ms, n.seq, n.created_at_ms
             FROM message AS m LEFT JOIN message AS p ON p.seq = m.parent
             LEFT JOIN message AS n ON n.seq = (SELECT max(seq) FROM message WHERE parent = m.seq)
             WHERE m.seq = ?1",
        )?;
        turns
            .iter()
            .map(|turn| {
                let found = statement
                    .query_row([turn.0], |row| {
                        let pair = |at| -> rusqlite::Result<Option<(RowKey, i64)>> {
                            let seq: Option<i64> = row.get(at)?;
                            let at_ms: Option<i64> = row.get(at + 1)?;
                            Ok(seq.map(RowKey).zip(at_ms))
                        };
                        Ok(Neighbours {
                            previous: pair(0)?,
                            next: pair(2)?,
                        })
                    })
                    .optional()?;
                Ok(found.unwrap_or_default())
            })
            .collect()
    }

    /// The cosines of these rows' vectors and `query`, by row, within 0.02 of the exact ones. Rows without a vector of
    /// this model are left out.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] as [`search_vectors`](Store::search_vectors).
    pub fn cosines(
        &self,
        index: Index,
        model_id: &str,
        query: &[f32],
        rows: &[RowKey],
    ) -> Result<HashMap<RowKey, f32>, StoreError> {
        crate::vectors::cosines(self, index, model_id, query, rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{MessageStatus, NewChat, NewMessage, Protection, Role, TextToEmbed};

    fn say(store: &mut Store, chat: crate::ChatId, text: &str, at_ms: i64) -> RowKey {
        let parent = store.chat(chat).unwrap().head;
        let message = store
            .append_message(NewMessage {
                chat,
                parent,
                role: Role::User,
                text: text.into(),
                reasoning: String::new(),
                status: MessageStatus::Complete,
                created_at_ms: at_ms,
                model: None,
                metadata: Value::Null,
            })
            .unwrap();
        store.turn_key(message.id).unwrap().unwrap()
    }

    #[test]
    fn rows_are_known_by_what_stands_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let protection = Protection::Passphrase(Zeroizing::new("words".into()));
        let mut store = Store::create(folder.path(), &protection).unwrap();
        let chat = NewChat {
            title: String::new(),
            created_at_ms: 0,
            metadata: Value::Null,
        };
        let chat = store.create_chat(chat).unwrap().id;
        let keys = ["I adopted two dogs", "The dog's name?", "Rex"]
            .iter()
            .zip(1..)
            .map(|(text, at_ms)| say(&mut store, chat, text, at_ms))
            .collect::<Vec<_>>();

        let words = ["dogs", "adoption", "rex", "cat", "\"", ""].map(str::to_owned);
        let rows = store.word_rows(Index::Turns, &words).unwrap();
        // Also where the turn before says it.
        assert_eq!(rows, [3, 2, 1, 0, 0, 0]);

        let beside = store.neighbours(&[keys[0], keys[1], RowKey(999)]).unwrap();
        assert_eq!((beside[0].previous, beside[0].next), (None, Some((keys[1], 2))));
        assert_eq!(
            (beside[1].previous, beside[1].next),
            (Some((keys[0], 1)), Some((keys[2], 3)))
        );
        assert_eq!(beside[2], Neighbours::default());

        let vector = |key, text: &str, vector: &[f32]| {
            let text = text.to_owned();
            (TextToEmbed { key, text }, vector.to_vec())
        };
        store
            .set_vectors(
                Index::Turns,
                "m",
                &[
                    vector(keys[0], "I adopted two dogs", &[1.0, 0.0]),
                    vector(keys[2], "Rex", &[3.0, 4.0]),
                ],
            )
            .unwrap();
        let near = store.cosines(Index::Turns, "m", &[2.0, 0.0], &keys).unwrap();
        assert_eq!(near.len(), 2);
        assert!(
            (near[&keys[0]] - 1.0).abs() < 0.02 && (near[&keys[2]] - 0.6).abs() < 0.02,
            "{near:?}"
        );
        assert!(
            store
                .cosines(Index::Turns, "other", &[1.0, 0.0], &keys)
                .unwrap()
                .is_empty()
        );
        assert!(store.cosines(Index::Turns, "m", &[1.0], &keys).is_err());
    }
}
