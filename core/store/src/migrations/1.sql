-- Version 1: chats, their messages, full text over them, settings.

CREATE TABLE chat (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    title TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    head INTEGER REFERENCES message (seq) DEFERRABLE INITIALLY DEFERRED,
    metadata TEXT NOT NULL CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX chat_updated ON chat (updated_at_ms);

-- A parent is older than its children, so that the tree has no cycles.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    chat INTEGER NOT NULL REFERENCES chat (seq) DEFERRABLE INITIALLY DEFERRED,
    parent INTEGER REFERENCES message (seq) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    status TEXT NOT NULL CHECK (status IN ('streaming', 'complete', 'stopped', 'interrupted', 'failed')),
    text TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    model TEXT,
    metadata TEXT NOT NULL CHECK (json_valid(metadata)),
    CHECK (parent < seq)
) STRICT;

CREATE INDEX message_place ON message (chat, parent);
CREATE INDEX message_parent ON message (parent);
CREATE INDEX message_streaming ON message (seq) WHERE status = 'streaming';

-- What full-text search covers, as it is indexed: a message enters when it has ended.
CREATE VIEW message_text (seq, text) AS
    SELECT seq, hearth_segment(text) FROM message WHERE status <> 'streaming';

CREATE VIRTUAL TABLE message_search USING fts5 (
    text,
    content = 'message_text',
    content_rowid = 'seq',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO message_search (message_search, rank) VALUES ('secure-delete', 1);

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL CHECK (json_valid(value))
) STRICT, WITHOUT ROWID;
