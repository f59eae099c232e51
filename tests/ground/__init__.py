"""Claims about the ground it stands on: the embedded server, the packages, the image."""
