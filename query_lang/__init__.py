"""The query language: text in, logical plan out. Knows no privacy, no files and no network."""
