-- The truth: every version of every article, in the order in which they were added. Times are microseconds since 1970, UTC.
CREATE TABLE events (
    sequence       BIGINT PRIMARY KEY,
    id             UUID NOT NULL,
    version        BIGINT NOT NULL CHECK (version >= 1),
    title          TEXT NOT NULL,
    content        TEXT NOT NULL,
    author         TEXT NOT NULL,
    tags           JSONB NOT NULL,
    created_at     BIGINT NOT NULL,
    published_at   BIGINT NOT NULL,
    news_type      TEXT NOT NULL,
    correlation_id TEXT,
    UNIQUE (id, version)
);

-- What happened, happened.
CREATE FUNCTION refuse_to_change_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only';
END $$;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_events();

-- The sequence of the last event; one row. Who adds one holds this row until it is committed, so that events become
-- visible in the order of their sequence. A SEQUENCE would give out numbers in one order and show them in another.
CREATE TABLE log_end (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence BIGINT NOT NULL
);

INSERT INTO log_end (only_row, sequence) VALUES (1, 0);

-- The last event that the broker has; one row. Without a broker it stays 0.
CREATE TABLE published (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence BIGINT NOT NULL
);

INSERT INTO published (only_row, sequence) VALUES (1, 0);
