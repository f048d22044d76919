"""Bounded stages joined by queues, with cancellation and statistics."""
