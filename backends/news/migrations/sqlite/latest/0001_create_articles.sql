-- What readers ask: the latest version of each article. Made from the event log alone, so it may be thrown away.
CREATE TABLE articles (
    id           TEXT NOT NULL PRIMARY KEY,
    version      INTEGER NOT NULL,
    title        TEXT NOT NULL,
    content      TEXT NOT NULL,
    author       TEXT NOT NULL,
    tags         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    news_type    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX articles_newest_first ON articles (published_at DESC, id);

-- The last event that is in the table above; one row.
CREATE TABLE position (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence INTEGER NOT NULL
) STRICT;

INSERT INTO position (only_row, sequence) VALUES (1, 0);
