"""The log proves itself: what was sealed is hashed again, and what is wrong is named."""
