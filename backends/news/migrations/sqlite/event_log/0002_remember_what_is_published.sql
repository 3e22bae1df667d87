-- Which request added a version, for the logs of those who take it in.
ALTER TABLE events ADD COLUMN correlation_id TEXT;

-- The last event that the broker has; one row. Without a broker it stays 0.
CREATE TABLE published (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence INTEGER NOT NULL
) STRICT;

INSERT INTO published (only_row, sequence) VALUES (1, 0);
