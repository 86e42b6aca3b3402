"""The database's history. Numbered migrations that are never edited once released; run by `open_database`."""
