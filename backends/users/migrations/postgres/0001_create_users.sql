-- `number` is the order of registration, for pages that do not shift; it never leaves the service.
-- `id` is what clients see: random, so that one user's id tells nothing of another's.
-- `sequence` is the number of the job that wrote the row.
CREATE TABLE users (
    number        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    email         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    sequence      BIGINT NOT NULL
);
-- The queue knows emails apart in the same way: only the case of A to Z is ignored, whatever the locale.
CREATE UNIQUE INDEX users_email ON users (lower(email COLLATE "C"));

-- The last job that is in `users`. It changes in the same transaction, so that no job is applied twice.
CREATE TABLE progress (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    sequence BIGINT NOT NULL
);
INSERT INTO progress (one, sequence) VALUES (1, 0);
