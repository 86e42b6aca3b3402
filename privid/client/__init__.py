"""The analyst's Python client."""
