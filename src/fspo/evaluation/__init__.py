"""Judges, preference accuracy, win rates, their statistics, and the report."""
