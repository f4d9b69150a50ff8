"""Domains: what is asked and how users differ, a folder for each."""
