"""Trusted side: confines, starts, feeds and reads the guests."""
