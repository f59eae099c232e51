"""What the API answers, asked through HTTP."""
