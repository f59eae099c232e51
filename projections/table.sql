-- Statements about whichever table a projection keeps; identifiers go in by format() on the server.
-- %1$I is the live table, %2$I the one being rebuilt, %3$I the column of the stream's id, %4$s the
-- columns that are a fold of the log.

-- name: pairs  the live table and its partitions, each with its like in the tree of $2
SELECT $1::text AS live, $2::text AS other
UNION ALL
SELECT c.relname, c.relname || substr($2::text, length($1::text) + 1)
FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE inhparent = $1::text::regclass

-- name: create  statements that make $2 an empty copy of $1: the same columns and partitions
SELECT format(
    'CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)%s', $2::text, $1::text,
    ' PARTITION BY ' || pg_get_partkeydef($1::text::regclass)
)
UNION ALL
SELECT format(
    'CREATE TABLE %I PARTITION OF %I %s', c.relname || substr($2::text, length($1::text) + 1),
    $2::text, pg_get_expr(c.relpartbound, c.oid)
)
FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid WHERE inhparent = $1::text::regclass

-- name: create_temporary  an empty copy for one transaction, without partitions or indexes
CREATE TEMPORARY TABLE %2$I (LIKE %1$I) ON COMMIT DROP

-- name: drop  what an interrupted rebuild left behind
DROP TABLE IF EXISTS %2$I

-- name: analyze
ANALYZE %2$I

-- name: types  of the columns $2 of table $1
SELECT format_type(a.atttypid, NULL)
FROM unnest($2::text[]) WITH ORDINALITY AS c (name, nth)
JOIN pg_attribute AS a ON a.attrelid = $1::text::regclass AND a.attname = c.name
ORDER BY c.nth

-- name: forget  the rows of some streams
DELETE FROM %2$I WHERE %3$I = ANY ($1::uuid[])

-- name: revise  a row anew as its stream makes it, unless the stream has gone on (%5$s: $1, $2 …)
UPDATE %1$I SET (%4$s) = ROW(%5$s) WHERE %3$I = $1 AND version = $2

-- name: lock  keep readers and writers out until the transaction ends
LOCK TABLE %1$I IN ACCESS EXCLUSIVE MODE

-- name: replace
DROP TABLE %1$I

-- name: rename  the statement that gives $2 the name of $1
SELECT format('ALTER TABLE %I RENAME TO %I', $2::text, $1::text)

-- name: digest  how many rows, and the sum of their hashes, in whatever order
SELECT count(*) AS rows, coalesce(sum(hash_record_extended(t, 0)), 0)::text AS digest
FROM (SELECT %4$s FROM %1$I) AS t

-- name: differences  keys and columns in which the live and the rebuilt table differ
SELECT
    coalesce(live.%3$I, rebuilt.%3$I) AS key,
    CASE WHEN live.%3$I IS NULL THEN 'missing' WHEN rebuilt.%3$I IS NULL THEN 'surplus'
        ELSE 'changed' END AS kind,
    ARRAY(
        SELECT l.key FROM jsonb_each(to_jsonb(live)) AS l
        JOIN jsonb_each(to_jsonb(rebuilt)) AS r USING (key)
        WHERE live.%3$I IS NOT NULL AND rebuilt.%3$I IS NOT NULL
            AND l.value IS DISTINCT FROM r.value
        ORDER BY 1
    ) AS columns
FROM (SELECT %4$s FROM %1$I) AS live
FULL JOIN (SELECT %4$s FROM %2$I) AS rebuilt ON live.%3$I = rebuilt.%3$I
WHERE live.%3$I IS NULL OR rebuilt.%3$I IS NULL OR NOT live *= rebuilt
ORDER BY 1 LIMIT $1

-- name: settings  statements that give $2 the owner, storage options, samples and grants of $1
SELECT format('ALTER TABLE %I OWNER TO %I', $2::text, pg_get_userbyid(relowner))
FROM pg_class WHERE oid = $1::text::regclass
UNION ALL
SELECT format('ALTER TABLE %I SET (%s)', $2::text, array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = $1::text::regclass AND reloptions IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS %s', $2::text, attname, attstattarget)
FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND attstattarget >= 0
    AND NOT attisdropped
UNION ALL
SELECT format(
    'GRANT %s ON %I TO %s%s', a.privilege_type, $2::text,
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
)
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.oid = $1::text::regclass AND a.grantee <> c.relowner

-- name: settle  wait for whoever builds an index there, or writes
LOCK TABLE %2$I IN SHARE ROW EXCLUSIVE MODE

-- name: indexes  statements that give $2 the indexes of $1 that it has not; the key first
-- (each has a name that says which: nobody builds it twice)
SELECT CASE
    WHEN c.oid IS NOT NULL THEN format(
        'ALTER TABLE %I ADD CONSTRAINT %I %s', $2::text, n.name, pg_get_constraintdef(c.oid)
    )
    ELSE format(
        'CREATE %s INDEX %I ON %I %s', CASE WHEN i.indisunique THEN 'UNIQUE' END, n.name, $2::text,
        substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$')
    ) END
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
CROSS JOIN LATERAL (SELECT left(x.relname, 55) || '_rebuild' AS name) AS n
LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
WHERE i.indrelid = $1::text::regclass AND NOT EXISTS (
    SELECT FROM pg_index AS there JOIN pg_class AS y ON y.oid = there.indexrelid
    WHERE there.indrelid = $2::text::regclass AND y.relname = n.name
)
ORDER BY c.oid IS NULL, x.relname

-- name: index_names  the live table's indexes, and what they are
SELECT i.indexrelid::regclass::text AS name,
    i.indisunique || substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$') AS definition
FROM pg_index AS i WHERE i.indrelid = $1::text::regclass

-- name: rename_indexes  statements that give the indexes of $1 the names ($2) of the same ones ($3)
SELECT format('ALTER INDEX %s RENAME TO %I', i.indexrelid::regclass, n.name)
FROM pg_index AS i
JOIN unnest($2::text[], $3::text[]) AS n (name, definition)
    ON i.indisunique || substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$') = n.definition
WHERE i.indrelid = $1::text::regclass AND i.indexrelid::regclass::text <> n.name

-- name: constraint_names  statements that give other constraints of $1 the names they have in $2
SELECT format('ALTER TABLE %I RENAME CONSTRAINT %I TO %I', $1::text, n.conname, o.conname)
FROM pg_constraint AS n
JOIN pg_constraint AS o ON o.conrelid = $2::text::regclass AND o.contype = n.contype
    AND pg_get_constraintdef(o.oid) = pg_get_constraintdef(n.oid)
WHERE n.conrelid = $1::text::regclass AND n.conindid = 0 AND n.coninhcount = 0
    AND n.conname <> o.conname
