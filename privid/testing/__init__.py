"""Synthetic scenes and fakes for tests and for users' own tests."""
