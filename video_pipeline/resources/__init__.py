"""Dagster's thin wrappers around compute, store and tracking."""
