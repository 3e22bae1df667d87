-- `sequence` is the number of the job that wrote the row; rows older than the queue have 0.
ALTER TABLE users ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;

-- The last job that is in `users`. It changes in the same transaction, so that no job is applied twice.
CREATE TABLE progress (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL
) STRICT;
INSERT INTO progress (one, sequence) VALUES (1, 0);
