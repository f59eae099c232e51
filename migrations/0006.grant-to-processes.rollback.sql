-- The role belongs to the cluster and may serve other databases: only its rights here go.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app') THEN
        REVOKE ALL ON ALL TABLES IN SCHEMA public FROM reactorcide_app;
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM reactorcide_app;
    END IF;
END $$;
