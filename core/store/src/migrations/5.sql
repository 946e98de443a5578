-- Version 5: what this device keeps for the account's other devices while it serves them on the local network, in the rows of
-- `hearth-relay`. An older program would carry out an erasure and leave it standing: hence a version of its own.
CREATE TABLE sync_peer (
    seq INTEGER PRIMARY KEY,
    account BLOB NOT NULL CHECK (length(account) = 32),
    space INTEGER NOT NULL CHECK (space BETWEEN 0 AND 255),
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (account, space, key)
) STRICT;
