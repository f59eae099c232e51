"""One module for each command. Imported when called; what is heavy is imported inside."""
