"""Judges, which say what answer a user prefers: measured, language model, reward model."""
