"""Tests of the log and of the rules."""
