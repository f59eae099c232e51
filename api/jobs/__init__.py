"""What the API does with jobs: submit, show, command, and their logs."""
