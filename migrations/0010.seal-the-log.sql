-- depends: 0009.follow-the-log
-- The log as a Merkle tree (RFC 6962): a leaf for each event, in the order of positions, without gaps.

-- Who this log is, in its signed checkpoints: made once, copied with the database.
CREATE TABLE log_identity (
    log_id  uuid    NOT NULL DEFAULT gen_random_uuid(),
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only)
);
INSERT INTO log_identity DEFAULT VALUES;

-- 256 leaves a row: leaf n is the (n % 256)th of tile n / 256. The last row grows until it is full.
CREATE TABLE sealed_tiles (
    tile           bigint   PRIMARY KEY CHECK (tile >= 0),
    first_position bigint   NOT NULL,
    last_position  bigint   NOT NULL,
    width          smallint NOT NULL CHECK (width BETWEEN 1 AND 256),
    -- Of each leaf's event, ascending.
    positions      bigint[] NOT NULL CHECK (cardinality(positions) = width),
    -- Of each leaf 16 random bytes, hashed before its data; zeros once the data are redacted.
    salts          bytea    NOT NULL CHECK (octet_length(salts) = 16 * width),
    payload_hashes bytea    NOT NULL CHECK (octet_length(payload_hashes) = 32 * width),
    leaf_hashes    bytea    NOT NULL CHECK (octet_length(leaf_hashes) = 32 * width)
);
CREATE INDEX sealed_tiles_first_position ON sealed_tiles (first_position);
-- Hashes can't be compressed.
ALTER TABLE sealed_tiles
    ALTER salts SET STORAGE EXTERNAL,
    ALTER payload_hashes SET STORAGE EXTERNAL,
    ALTER leaf_hashes SET STORAGE EXTERNAL;

-- The tree above the leaves: each hash is the root of a whole tile of the level below.
CREATE TABLE tree_tiles (
    level  smallint NOT NULL CHECK (level >= 1),
    tile   bigint   NOT NULL CHECK (tile >= 0),
    hashes bytea    NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (level, tile)
);
ALTER TABLE tree_tiles ALTER hashes SET STORAGE EXTERNAL;

-- What was signed, one for each batch that was sealed.
CREATE TABLE signed_checkpoints (
    tree_size     bigint      PRIMARY KEY CHECK (tree_size > 0),
    root          bytea       NOT NULL CHECK (octet_length(root) = 32),
    -- Of the last leaf's event.
    last_position bigint      NOT NULL,
    note          text        NOT NULL,
    signed_at     timestamptz NOT NULL DEFAULT now()
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT ON log_identity TO reactorcide_app;
        GRANT SELECT, INSERT, UPDATE ON sealed_tiles, tree_tiles TO reactorcide_app;
        GRANT SELECT, INSERT ON signed_checkpoints TO reactorcide_app;
    END IF;
END $$;
