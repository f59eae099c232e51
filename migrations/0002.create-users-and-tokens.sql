-- depends: 0001.create-events
-- Who may ask: users, their tokens, and when each token was last used.

CREATE TABLE users (
    user_id    uuid        PRIMARY KEY,
    version    integer     NOT NULL,
    username   text        NOT NULL,
    email      text,
    roles      text[]      NOT NULL,
    is_active  boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_username ON users (lower(username));
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE email IS NOT NULL;

CREATE TABLE tokens (
    token_id     uuid        PRIMARY KEY,
    version      integer     NOT NULL,
    user_id      uuid        NOT NULL,
    name         text        NOT NULL,
    token_hash   text        NOT NULL,
    prefix       text        NOT NULL,
    scopes       text[],
    expires_at   timestamptz,
    -- When it stops holding for another reason than expires_at: revoked, or replaced (with overlap).
    revoked_at   timestamptz,
    rotated_from uuid,
    successor_id uuid,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX tokens_token_hash ON tokens (token_hash);
CREATE INDEX tokens_user ON tokens (user_id, token_id DESC);

-- Not a fold of the log: written at most once a minute and token.
CREATE TABLE token_uses (
    token_id     uuid        PRIMARY KEY,
    last_used_at timestamptz NOT NULL
);
