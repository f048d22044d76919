"""Timing spans, their pictures and tables, GPU utilisation, log set-up."""
