"""Brings video into the store."""
