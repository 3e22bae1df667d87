-- How often a user read a label. Times are microseconds since 1970, UTC.
CREATE TABLE reads (
    user_id TEXT NOT NULL,
    label   TEXT NOT NULL,
    count   INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (user_id, label)
) STRICT, WITHOUT ROWID;

-- Both ways: what a user reads most, and who reads a label most.
CREATE INDEX reads_by_user ON reads (user_id, count DESC, label);
CREATE INDEX reads_by_label ON reads (label, count DESC, user_id);

-- Who read, with the name that users told last.
CREATE TABLE readers (
    id   TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The events that are in the counts, so that none is counted again.
CREATE TABLE counted_events (
    id         TEXT NOT NULL PRIMARY KEY,
    counted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX counted_events_oldest_first ON counted_events (counted_at);

-- The events that arrived over HTTP and are not counted yet, or never will be: those have a dead_at.
CREATE TABLE inbox (
    id             TEXT NOT NULL PRIMARY KEY,
    event          TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    due_at         INTEGER NOT NULL,
    reason         TEXT,
    dead_at        INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_by_due ON inbox (due_at) WHERE dead_at IS NULL;
CREATE INDEX inbox_dead ON inbox (dead_at) WHERE dead_at IS NOT NULL;
