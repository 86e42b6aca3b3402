"""One database schema, its migrations and connections (SQLite or PostgreSQL)."""
