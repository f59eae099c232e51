-- depends: 0013.ask-after-access
-- Rebuilds under way, so that one that was killed is gone on with.

CREATE TABLE rebuilds (
    name         text        PRIMARY KEY,
    -- The code that folds and the shape of the table: another one begins anew.
    made_by      text        NOT NULL,
    begun_at     timestamptz NOT NULL DEFAULT now(),
    has_indexes  boolean     NOT NULL DEFAULT false
);

-- Streams from one id to another. Every event of theirs up to `position` is in the table beside,
-- which is written in the same transaction; none before that is known.
CREATE TABLE rebuild_slices (
    name     text   NOT NULL REFERENCES rebuilds ON DELETE CASCADE,
    first    uuid   NOT NULL,
    last     uuid   NOT NULL,
    position bigint,
    PRIMARY KEY (name, first)
);

-- Only the login that owns the tables rebuilds one; processes may look.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT ON rebuilds, rebuild_slices TO reactorcide_app;
    END IF;
END $$;
