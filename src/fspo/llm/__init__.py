"""Asks a language model for text."""
