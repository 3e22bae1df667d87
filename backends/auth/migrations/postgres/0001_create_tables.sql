-- Times are seconds since 1970, UTC. Secrets that clients hold are here as SHA-256 only, in base64. `number` is the order of
-- arrival: a user with too many of a kind loses the first that came.

-- Keys that sign or will sign, and those whose tokens still live. The private half is readable: what protects it is
-- the permission on this table: let no other role read it. When a key has leaked, empty this
-- table: within HOUSEKEEPING_EVERY there is a new key, and tokens of the old ones are refused as soon as those who check
-- them have fetched the keys again (five minutes).
CREATE TABLE signing_keys (
    generation  BIGINT PRIMARY KEY,  -- two instances cannot both make the next one
    algorithm   TEXT NOT NULL,       -- ES256
    private_key BYTEA NOT NULL,      -- PKCS #8
    signs_from  BIGINT NOT NULL
);

-- Browsers that are logged in; `id` is the hash of their cookie.
CREATE TABLE sessions (
    number           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    user_id          TEXT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id, number);
CREATE INDEX sessions_expire ON sessions (expires_at);

-- Authorization codes, also spent ones: a code that comes a second time ends the grant it was spent for.
CREATE TABLE codes (
    number           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code             TEXT NOT NULL UNIQUE,
    client_id        TEXT NOT NULL,
    redirect_uri     TEXT NOT NULL,
    challenge        TEXT NOT NULL,  -- PKCE, S256
    nonce            TEXT NOT NULL,  -- '' if there was none
    user_id          TEXT NOT NULL,
    session_id       TEXT NOT NULL,
    scope            TEXT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    grant_id         TEXT NOT NULL   -- '' until it is spent
);
CREATE INDEX codes_of_user ON codes (user_id, number);
CREATE INDEX codes_of_session ON codes (session_id);
CREATE INDEX codes_expire ON codes (expires_at);

-- What a user let a client have, from a login to its end: a family of refresh tokens, of which one is current.
CREATE TABLE grants (
    number           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    refresh_hash     TEXT NOT NULL,
    client_id        TEXT NOT NULL,
    user_id          TEXT NOT NULL,
    session_id       TEXT NOT NULL,  -- '' for a login without a browser
    scope            TEXT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL
);
CREATE INDEX grants_of_user ON grants (user_id, number);
CREATE INDEX grants_of_session ON grants (session_id);
CREATE INDEX grants_expire ON grants (expires_at);

-- Guesses at passwords, counted as a time: each attempt moves it on, and while it is too far ahead there are no more.
CREATE TABLE login_attempts (
    account TEXT PRIMARY KEY,        -- the hash of the email in lower case
    free_at BIGINT NOT NULL         -- when nothing is held against the account any more
);
CREATE INDEX login_attempts_expire ON login_attempts (free_at);
