-- depends: 0005.create-log-chunks
-- Where the migrating user may create roles, processes run as one that can only add to the log.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app') THEN
        IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
            RETURN;
        END IF;
        BEGIN
            CREATE ROLE reactorcide_app NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database of this cluster is being migrated too
        END;
    END IF;
    -- Two databases of one cluster migrated at once update the same catalogue rows.
    PERFORM pg_advisory_xact_lock(hashtext('reactorcide_app'));
    -- From 16 on who creates a role is a member of it, but may not act as it.
    IF NOT pg_has_role(
        current_user, 'reactorcide_app',
        CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END
    ) THEN
        BEGIN
            EXECUTE format('GRANT reactorcide_app TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            RETURN; -- made by somebody else; processes then run as the migrating user
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO reactorcide_app', current_schema());
    GRANT SELECT, INSERT ON events TO reactorcide_app;
    GRANT USAGE ON SEQUENCE events_position_seq TO reactorcide_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        users, tokens, token_uses, jobs, leases, idempotency_keys, workers, worker_beats, log_chunks
        TO reactorcide_app;
END $$;
