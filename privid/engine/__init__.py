"""Runs admitted queries: chunk tasks, the relational part, noise, releases."""
