-- The proof of all that was sealed goes with them: only checkpoints kept elsewhere remain.

DROP TABLE signed_checkpoints;
DROP TABLE tree_tiles;
DROP TABLE sealed_tiles;
DROP TABLE log_identity;
DELETE FROM checkpoints WHERE name = 'sealed_tiles';
