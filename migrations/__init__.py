"""The schema, as numbered SQL files, and how they are applied."""
