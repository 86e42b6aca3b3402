"""The wire protocol's generated code."""
