"""Tests of the `reactorcide` command."""
