-- Writes that were answered and are not in the database yet, in the order in which they were answered.
-- AUTOINCREMENT remembers the last number also when the table is empty.
CREATE TABLE jobs (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    name           TEXT NOT NULL,
    email          TEXT NOT NULL,
    password_hash  TEXT NOT NULL,
    correlation_id TEXT NOT NULL
) STRICT;

-- Jobs that the database will never take, kept for people to look at.
CREATE TABLE dead_letters (
    sequence       INTEGER PRIMARY KEY,
    kind           TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    name           TEXT NOT NULL,
    email          TEXT NOT NULL,
    password_hash  TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    reason         TEXT NOT NULL
) STRICT;

-- Every email and whose it is, also of users who are long in the database.
CREATE TABLE emails (
    email   TEXT PRIMARY KEY,
    user_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Holds a row once `emails` is complete.
CREATE TABLE emails_complete (
    one  INTEGER PRIMARY KEY CHECK (one = 1)
) STRICT;
