-- Version 4: counters of use from other devices. `use_count` and `last_used_at_ms` of a memory are of all devices together;
-- what this one counted is the rest.

-- By the id of the device's counters. Of memories that aren't here (yet) too.
CREATE TABLE memory_use (
    memory BLOB NOT NULL CHECK (length(memory) = 16),
    device BLOB NOT NULL CHECK (length(device) = 16),
    count INTEGER NOT NULL CHECK (count >= 0),
    last_used_at_ms INTEGER NOT NULL,
    PRIMARY KEY (memory, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_use_device ON memory_use (device);

-- The id of this device's own counters, and when they were last told.
ALTER TABLE sync_state ADD COLUMN usage BLOB CHECK (length(usage) = 16);
ALTER TABLE sync_state ADD COLUMN usage_told_at_ms INTEGER;
