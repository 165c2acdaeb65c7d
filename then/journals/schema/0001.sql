-- The log. Seqs are given by the engine and rise by one, so that every insert
-- falls on the right edge of the tree.
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- What a start needs at once. The key is the row: one tree, in the order in
-- which it is read.
CREATE TABLE cell (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- Numbers of the journal itself. `last`: the newest seq at the last pruning,
-- since the entry that bore it may be gone and a seq is never given twice.
CREATE TABLE mark (
    name TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
