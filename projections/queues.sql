-- The SQL of queues.py. Each statement follows a line `-- name: NAME  what it is for`.

-- name: page  queues with jobs that have not ended, by name, after one of them
SELECT queue_name,
    coalesce(sum(jobs) FILTER (WHERE status = 'submitted'), 0)::bigint AS submitted,
    coalesce(sum(jobs) FILTER (WHERE status = 'queued'), 0)::bigint AS queued,
    coalesce(sum(jobs) FILTER (WHERE status = 'claimed'), 0)::bigint AS claimed,
    coalesce(sum(jobs) FILTER (WHERE status = 'running'), 0)::bigint AS running
FROM (
    SELECT queue_name, status, jobs FROM queue_counts
    UNION ALL SELECT queue_name, status, jobs FROM queue_changes
) AS noted
WHERE queue_name > $1 COLLATE "C"
GROUP BY queue_name HAVING sum(jobs) <> 0 ORDER BY queue_name COLLATE "C" LIMIT $2 OFFSET $3

-- name: count  how many queues have such jobs
SELECT count(*) FROM (
    SELECT FROM (
        SELECT queue_name, jobs FROM queue_counts
        UNION ALL SELECT queue_name, jobs FROM queue_changes
    ) AS noted
    GROUP BY queue_name HAVING sum(jobs) <> 0
) AS counted

-- name: total  how many jobs stand in a status that is not final, of one queue or of all
SELECT coalesce(sum(jobs), 0)::bigint FROM (
    SELECT queue_name, status, jobs FROM queue_counts
    UNION ALL SELECT queue_name, status, jobs FROM queue_changes
) AS noted
WHERE status = $1 AND ($2::text IS NULL OR queue_name = $2)

-- name: largest  the counts of the queues with the most such jobs, and of all others as one (NULL)
WITH counted AS (
    SELECT queue_name, status, sum(jobs)::bigint AS jobs FROM (
        SELECT queue_name, status, jobs FROM queue_counts
        UNION ALL SELECT queue_name, status, jobs FROM queue_changes
    ) AS noted
    GROUP BY queue_name, status HAVING sum(jobs) <> 0
), largest AS (
    SELECT queue_name FROM counted
    GROUP BY queue_name ORDER BY sum(jobs) DESC, queue_name LIMIT $1
)
SELECT l.queue_name, c.status, sum(c.jobs)::bigint AS jobs
FROM counted AS c LEFT JOIN largest AS l USING (queue_name)
GROUP BY l.queue_name, c.status ORDER BY l.queue_name, c.status

-- name: add_up  put what was noted into the counts, unless somebody else is at it
WITH taken AS (
    DELETE FROM queue_changes WHERE change_id IN (
        SELECT change_id FROM queue_changes
        WHERE (SELECT pg_try_advisory_xact_lock(hashtext('reactorcide queue_counts')))
        ORDER BY change_id LIMIT $1
    )
    RETURNING queue_name, status, jobs
), summed AS (
    INSERT INTO queue_counts AS c (queue_name, status, jobs)
    SELECT queue_name, status, sum(jobs) FROM taken GROUP BY queue_name, status
    ORDER BY queue_name, status
    ON CONFLICT (queue_name, status) DO UPDATE SET jobs = c.jobs + excluded.jobs
)
SELECT count(*) FROM taken

-- name: forget_empty  counts of none, which queues that nobody uses any more leave behind
DELETE FROM queue_counts WHERE jobs = 0
