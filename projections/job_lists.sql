-- The SQL of job_lists.py. Each statement follows a line `-- name: NAME  what it is for`.
-- `status <> 'deleted'` becomes `status = '…'` where one status is asked for, so that a plan made
-- once and for all reaches only the rows of that status. Every scope is walked in the order of an
-- index, backwards: (job_id) or (user_id, job_id) of each partition, merged. `= ANY` of one
-- user: an equality would let the planner walk everybody's jobs and leave out those of others.
-- What a page begins behind and how long it is are read by sub-selects: a planner that knows them
-- finds its plan for fifty rows cheaper than the one for any number, and makes it anew each time.

-- name: page_of_all  everybody's jobs after one of them, newest first
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM jobs WHERE status <> 'deleted' AND job_id < (SELECT $1::uuid)
    ORDER BY job_id DESC LIMIT (SELECT $2::bigint) OFFSET (SELECT $3::bigint)
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.job_id DESC

-- name: page_of_user  the same of one user
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM jobs
    WHERE status <> 'deleted' AND user_id = ANY ((SELECT $4::uuid[])::uuid[])
        AND job_id < (SELECT $1::uuid)
    ORDER BY user_id DESC, job_id DESC LIMIT (SELECT $2::bigint) OFFSET (SELECT $3::bigint)
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.job_id DESC

-- name: passing_of_all  those that pass a filter, of as many of everybody's as one look takes
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM (
        SELECT * FROM jobs WHERE status <> 'deleted' AND job_id < $1
        ORDER BY job_id DESC LIMIT 10000
    ) AS newest
    WHERE ($4::text IS NULL OR queue_name = $4)
        AND ($5::text IS NULL OR source_type = $5)
        AND ($6::jsonb IS NULL OR labels @> $6)
        AND ($7::timestamptz IS NULL OR created_at > $7)
        AND ($8::timestamptz IS NULL OR created_at < $8)
        AND ($9::text IS NULL OR strpos(lower(name), lower($9)) > 0)
    ORDER BY job_id DESC LIMIT $2 OFFSET $3
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.job_id DESC

-- name: passing_of_user  the same of one user
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM (
        SELECT * FROM jobs WHERE status <> 'deleted' AND user_id = ANY ($10::uuid[]) AND job_id < $1
        ORDER BY user_id DESC, job_id DESC LIMIT 10000
    ) AS newest
    WHERE ($4::text IS NULL OR queue_name = $4)
        AND ($5::text IS NULL OR source_type = $5)
        AND ($6::jsonb IS NULL OR labels @> $6)
        AND ($7::timestamptz IS NULL OR created_at > $7)
        AND ($8::timestamptz IS NULL OR created_at < $8)
        AND ($9::text IS NULL OR strpos(lower(name), lower($9)) > 0)
    ORDER BY user_id DESC, job_id DESC LIMIT $2 OFFSET $3
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.job_id DESC

-- name: look_of_all  the last job that one look takes, if there are so many
SELECT job_id FROM jobs WHERE status <> 'deleted' AND job_id < $1
ORDER BY job_id DESC LIMIT 1 OFFSET 9999

-- name: look_of_user  the same of one user
SELECT job_id FROM jobs WHERE status <> 'deleted' AND user_id = ANY ($2::uuid[]) AND job_id < $1
ORDER BY user_id DESC, job_id DESC LIMIT 1 OFFSET 9999

-- name: count_visible_of_all  how many jobs can be seen, up to one more than are counted
-- (that is told by where they lie, since a status is read in the row itself; first what ended:
-- where that is much, nothing else is looked at)
SELECT count(*) AS looked_at, count(*) AS passing
FROM (
    (SELECT FROM jobs_ended ORDER BY job_id DESC LIMIT 10001)
    UNION ALL SELECT FROM jobs_held
    UNION ALL SELECT FROM jobs_ready
    UNION ALL SELECT FROM jobs_waiting
    LIMIT 10001
) AS seen

-- name: count_visible_of_user  the same of one user
SELECT count(*) AS looked_at, count(*) AS passing
FROM (
    SELECT FROM jobs_ended WHERE user_id = ANY ((SELECT $1::uuid[])::uuid[])
    UNION ALL SELECT FROM jobs_held WHERE user_id = ANY ((SELECT $1::uuid[])::uuid[])
    UNION ALL SELECT FROM jobs_ready WHERE user_id = ANY ((SELECT $1::uuid[])::uuid[])
    UNION ALL SELECT FROM jobs_waiting WHERE user_id = ANY ((SELECT $1::uuid[])::uuid[])
    LIMIT 10001
) AS seen

-- name: count_of_all  how many jobs there are of one status, up to one more than are counted
SELECT count(*) AS looked_at, count(*) AS passing
FROM (SELECT FROM jobs WHERE status <> 'deleted' ORDER BY job_id DESC LIMIT 10001) AS newest

-- name: count_of_user  the same of one user
SELECT count(*) AS looked_at, count(*) AS passing
FROM (
    SELECT FROM jobs
    WHERE status <> 'deleted' AND user_id = ANY ((SELECT $1::uuid[])::uuid[])
    ORDER BY user_id DESC, job_id DESC LIMIT 10001
) AS newest

-- name: count_passing_of_all  how many of these pass a filter, and how many there are
SELECT
    count(*) AS looked_at,
    count(*) FILTER (
        WHERE ($1::text IS NULL OR queue_name = $1)
        AND ($2::text IS NULL OR source_type = $2)
        AND ($3::jsonb IS NULL OR labels @> $3)
        AND ($4::timestamptz IS NULL OR created_at > $4)
        AND ($5::timestamptz IS NULL OR created_at < $5)
        AND ($6::text IS NULL OR strpos(lower(name), lower($6)) > 0)
    ) AS passing
FROM (
    SELECT queue_name, source_type, labels, created_at, name FROM jobs
    WHERE status <> 'deleted' ORDER BY job_id DESC LIMIT 10001
) AS newest

-- name: count_passing_of_user  the same of one user
SELECT
    count(*) AS looked_at,
    count(*) FILTER (
        WHERE ($1::text IS NULL OR queue_name = $1)
        AND ($2::text IS NULL OR source_type = $2)
        AND ($3::jsonb IS NULL OR labels @> $3)
        AND ($4::timestamptz IS NULL OR created_at > $4)
        AND ($5::timestamptz IS NULL OR created_at < $5)
        AND ($6::text IS NULL OR strpos(lower(name), lower($6)) > 0)
    ) AS passing
FROM (
    SELECT queue_name, source_type, labels, created_at, name FROM jobs
    WHERE status <> 'deleted' AND user_id = ANY ($7::uuid[])
    ORDER BY user_id DESC, job_id DESC LIMIT 10001
) AS newest
