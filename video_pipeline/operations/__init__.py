"""Keeping the pipeline running: what to run next, what to clean up. Decisions only, without Dagster."""
