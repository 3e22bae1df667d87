-- `number` is the order of registration, for pages that do not shift; it never leaves the service.
-- `id` is what clients see: random, so that one user's id tells nothing of another's.
CREATE TABLE users (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    email         TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT NOT NULL
) STRICT;
