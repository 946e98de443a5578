-- Version 2: long-term memory.

ALTER TABLE chat ADD COLUMN memory INTEGER NOT NULL DEFAULT 1 CHECK (memory IN (0, 1));

CREATE TABLE memory (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    text TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('constraint', 'biography', 'preference', 'event', 'context')),
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    sensitive INTEGER NOT NULL CHECK (sensitive IN (0, 1)),
    valid_from_ms INTEGER,
    valid_to_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'superseded', 'review')),
    superseded_by INTEGER REFERENCES memory (seq) ON DELETE SET NULL,
    origin TEXT NOT NULL CHECK (origin IN ('stated', 'extracted', 'imported')),
    use_count INTEGER NOT NULL DEFAULT 0 CHECK (use_count >= 0),
    last_used_at_ms INTEGER,
    pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    CHECK (superseded_by IS NULL OR status = 'superseded')
) STRICT;

CREATE INDEX memory_newest ON memory (created_at_ms, seq);
CREATE INDEX memory_superseded_by ON memory (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX memory_eviction ON memory (coalesce(last_used_at_ms, created_at_ms), seq)
    WHERE pinned = 0 AND kind <> 'constraint';

-- Where a memory came from. By id and without a foreign key: an imported memory may name a chat that isn't here.
CREATE TABLE memory_source (
    memory INTEGER NOT NULL REFERENCES memory (seq) ON DELETE CASCADE,
    chat BLOB NOT NULL CHECK (length(chat) = 16),
    message BLOB NOT NULL CHECK (length(message) = 16),
    text_hash BLOB NOT NULL CHECK (length(text_hash) = 32),
    PRIMARY KEY (memory, message)
) STRICT, WITHOUT ROWID;

CREATE INDEX memory_source_chat ON memory_source (chat);
CREATE INDEX memory_source_message ON memory_source (message);

-- Text as it is indexed.
CREATE VIEW memory_text (seq, text) AS SELECT seq, hearth_segment(text) FROM memory;

CREATE VIRTUAL TABLE memory_search USING fts5 (
    text,
    content = 'memory_text',
    content_rowid = 'seq',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
INSERT INTO memory_search (memory_search, rank) VALUES ('secure-delete', 1);

-- Episodes: what was said and answered in full, in chats that are remembered, with the turn before it.
CREATE VIEW turn_text (seq, chat, text, previous) AS
    SELECT m.seq, m.chat, hearth_segment(hearth_turn(m.text, m.metadata)),
           hearth_segment(hearth_previous(CASE p.status WHEN 'streaming' THEN '' ELSE p.text END, p.metadata))
    FROM message AS m JOIN chat AS c ON c.seq = m.chat LEFT JOIN message AS p ON p.seq = m.parent
    WHERE m.status = 'complete' AND m.role IN ('user', 'assistant') AND m.text <> '' AND c.memory = 1;

-- What a filter looks at, so that reading it doesn't read the texts.
CREATE INDEX message_turn ON message (chat, role, created_at_ms)
    WHERE status = 'complete' AND role IN ('user', 'assistant') AND text <> '';

CREATE VIRTUAL TABLE turn_search USING fts5 (
    text,
    previous,
    content = 'turn_text',
    content_rowid = 'seq',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
INSERT INTO turn_search (turn_search, rank) VALUES ('secure-delete', 1);
INSERT INTO turn_search (rowid, text, previous) SELECT seq, text, previous FROM turn_text;

-- Embeddings: little-endian 32-bit floats of length one, by the model that made them.
CREATE TABLE embedding_model (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    dimensions INTEGER NOT NULL CHECK (dimensions BETWEEN 1 AND 4096)
) STRICT;

CREATE TABLE memory_vector (
    seq INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES embedding_model (seq),
    item INTEGER NOT NULL REFERENCES memory (seq) ON DELETE CASCADE,
    vector BLOB NOT NULL CHECK (length(vector) % 4 = 0)
) STRICT;
CREATE UNIQUE INDEX memory_vector_item ON memory_vector (item, model);

CREATE TABLE turn_vector (
    seq INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES embedding_model (seq),
    item INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    vector BLOB NOT NULL CHECK (length(vector) % 4 = 0)
) STRICT;
CREATE UNIQUE INDEX turn_vector_item ON turn_vector (item, model);

-- Work for idle time. `payload` names what to work on by id; it holds no text of a chat or a memory.
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    payload TEXT NOT NULL CHECK (json_valid(payload)),
    running INTEGER NOT NULL DEFAULT 0 CHECK (running IN (0, 1)),
    again INTEGER NOT NULL DEFAULT 0 CHECK (again IN (0, 1)),
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before_ms INTEGER NOT NULL,
    UNIQUE (kind, key)
) STRICT;

CREATE INDEX job_next ON job (running, not_before_ms, seq);

-- The summary that is always in context: sentences, and the memories each was made from.
CREATE TABLE biography (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE biography_source (
    sentence INTEGER NOT NULL REFERENCES biography (seq) ON DELETE CASCADE,
    memory INTEGER NOT NULL REFERENCES memory (seq),
    PRIMARY KEY (sentence, memory)
) STRICT, WITHOUT ROWID;

CREATE INDEX biography_source_memory ON biography_source (memory);

-- One row. `hash_key` keys the hashes of source texts.
CREATE TABLE memory_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    hash_key BLOB NOT NULL CHECK (length(hash_key) = 32),
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    biography_built_at_ms INTEGER,
    biography_stale INTEGER NOT NULL DEFAULT 0 CHECK (biography_stale IN (0, 1))
) STRICT;
INSERT INTO memory_state (one, hash_key) VALUES (1, randomblob(32));

-- What was erased, by id alone, so that no backup and no import brings it back.
CREATE TABLE erased (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    what TEXT NOT NULL CHECK (what IN ('memory', 'message', 'chat')),
    erased_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Erasures, by ids and counts alone. `begun`: `document` is the plan, to be carried out; `done`: it is the receipt, and
-- the write-ahead log may still hold what was erased; `settled`: the log was emptied.
CREATE TABLE erasure (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    erased_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('begun', 'done', 'settled')),
    document TEXT NOT NULL CHECK (json_valid(document))
) STRICT;

CREATE INDEX erasure_unsettled ON erasure (seq) WHERE state <> 'settled';
