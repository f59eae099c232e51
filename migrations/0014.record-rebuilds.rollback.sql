-- What is under way is lost, and the tables beside with it.

DO $$
DECLARE beside text;
BEGIN
    FOR beside IN SELECT name || '_rebuild' FROM rebuilds LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', beside);
    END LOOP;
END $$;
DROP TABLE rebuild_slices;
DROP TABLE rebuilds;
