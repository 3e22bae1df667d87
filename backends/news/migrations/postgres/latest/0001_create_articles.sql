-- What readers ask: the latest version of each article, whole as they get it; outside of it what is searched by. Made
-- from the event log alone, so it may be thrown away.
CREATE TABLE articles (
    id           UUID PRIMARY KEY,
    version      BIGINT NOT NULL,
    published_at BIGINT NOT NULL,
    article      JSONB NOT NULL
);

CREATE INDEX articles_newest_first ON articles (published_at DESC, id);

-- The last event that is in the table above; one row.
CREATE TABLE position (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence BIGINT NOT NULL
);

INSERT INTO position (only_row, sequence) VALUES (1, 0);
