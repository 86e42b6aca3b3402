"""The query language: text in, logical plan out. Knows no privacy, no files and no network."""

from __future__ import annotations

from query_lang.compile import compile_script
from query_lang.errors import QueryError
from query_lang.schema import CameraSchema, Catalog

__all__ = ["CameraSchema", "Catalog", "QueryError", "compile_script"]
