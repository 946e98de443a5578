-- Version 3: sync. Everything is empty, and nothing writes it, in a profile without an account. The triggers that note what
-- changes are made when sync begins and dropped when it ends (src/sync/capture.rs).

-- One row.
CREATE TABLE sync_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    running INTEGER NOT NULL DEFAULT 0 CHECK (running IN (0, 1))
) STRICT;
INSERT INTO sync_state (one) VALUES (1);

-- The journal of the device's state machine: a map, (space, key) → value.
CREATE TABLE sync_record (
    seq INTEGER PRIMARY KEY,
    space INTEGER NOT NULL CHECK (space BETWEEN 0 AND 255),
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (space, key)
) STRICT;

-- Documents by handle. `local` is what one is of: the id of a memory or chat, the name of a group of settings.
-- `published` are the heads (32 bytes each) of what is on its way to other devices or there.
CREATE TABLE sync_document (
    seq INTEGER PRIMARY KEY,
    handle BLOB NOT NULL UNIQUE CHECK (length(handle) = 16),
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 6),
    local BLOB NOT NULL,
    document BLOB NOT NULL,
    published BLOB NOT NULL CHECK (length(published) % 32 = 0)
) STRICT;
CREATE INDEX sync_document_local ON sync_document (kind, local);

-- Pieces of large documents and media on their way here, by the log they come in.
CREATE TABLE sync_piece (
    seq INTEGER PRIMARY KEY,
    handle BLOB NOT NULL CHECK (length(handle) = 16),
    log BLOB NOT NULL CHECK (length(log) = 16),
    place INTEGER NOT NULL CHECK (place >= 0),
    bytes BLOB NOT NULL,
    UNIQUE (handle, log, place)
) STRICT;

-- What changed here and isn't in its document yet. A later change gets a higher number.
CREATE TABLE sync_dirty (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    local BLOB NOT NULL,
    UNIQUE (kind, local)
) STRICT;

-- What a superseded memory was superseded by, while that isn't here (not yet, or evicted).
CREATE TABLE sync_successor (
    memory BLOB PRIMARY KEY CHECK (length(memory) = 16),
    successor BLOB NOT NULL CHECK (length(successor) = 16)
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_successor_successor ON sync_successor (successor);

-- Handles and marks that are erased for ever.
CREATE TABLE sync_erased (
    handle BLOB PRIMARY KEY CHECK (length(handle) = 16)
) STRICT, WITHOUT ROWID;

-- Of these, what has yet to be ordered of the other devices.
CREATE TABLE sync_outgoing_erasure (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    handle BLOB NOT NULL UNIQUE CHECK (length(handle) = 16)
) STRICT;
