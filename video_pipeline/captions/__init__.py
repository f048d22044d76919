"""Burned-in captions: plain functions over media, without Dagster."""
