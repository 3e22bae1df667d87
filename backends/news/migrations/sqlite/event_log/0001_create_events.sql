-- The truth: every version of every article, in the order in which they were added. Times are microseconds since 1970, UTC.
CREATE TABLE events (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL,
    version      INTEGER NOT NULL CHECK (version >= 1),
    title        TEXT NOT NULL,
    content      TEXT NOT NULL,
    author       TEXT NOT NULL,
    tags         TEXT NOT NULL CHECK (json_valid(tags)),
    created_at   INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    news_type    TEXT NOT NULL,
    UNIQUE (id, version)
) STRICT;

-- What happened, happened.
CREATE TRIGGER events_are_not_updated BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'the event log is append-only');
END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'the event log is append-only');
END;
