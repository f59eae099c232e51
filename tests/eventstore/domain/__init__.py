"""Tests of the rules: examples of each, laws that hold for all, and bugs the laws catch."""
