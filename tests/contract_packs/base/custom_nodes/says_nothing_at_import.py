"""Fails without a word while it is imported."""

raise AssertionError
