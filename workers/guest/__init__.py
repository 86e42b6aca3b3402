"""Untrusted side: runs inside the sandbox."""
