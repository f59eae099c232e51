"""Claims about the schema's files and how they are applied."""
