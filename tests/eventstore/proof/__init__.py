"""Tests of the verification of the log."""
