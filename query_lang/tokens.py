"""Words and signs of the language: few keywords, so that most words can name columns; and words that are refused.

Constructs without a known stability are reserved words: they are refused where they stand, with what to write instead.
"""

# ruff: noqa: RUF012 - sqlglot's tables are class variables
from __future__ import annotations

import re
from typing import ClassVar, Final

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer as BaseTokenizer

from query_lang.errors import QueryError, Span

MAX_TEXT: Final = 100_000
MAX_TOKENS: Final = 20_000
MAX_DEPTH: Final = 40

_COMMENT_MARK: Final = re.compile(r"/\*|\*/")

KEYWORDS: Final = {
    "==": TokenType.EQ,
    "||": TokenType.DPIPE,
    ">=": TokenType.GTE,
    "<=": TokenType.LTE,
    "<>": TokenType.NEQ,
    "!=": TokenType.NEQ,
    "ALL": TokenType.ALL,
    "AND": TokenType.AND,
    "AS": TokenType.ALIAS,
    "ASC": TokenType.ASC,
    "BETWEEN": TokenType.BETWEEN,
    "CASE": TokenType.CASE,
    "DESC": TokenType.DESC,
    "DISTINCT": TokenType.DISTINCT,
    "ELSE": TokenType.ELSE,
    "END": TokenType.END,
    "EXCEPT": TokenType.EXCEPT,
    "FALSE": TokenType.FALSE,
    "FILTER": TokenType.FILTER,
    "FROM": TokenType.FROM,
    "FULL": TokenType.FULL,
    "GROUP BY": TokenType.GROUP_BY,
    "HAVING": TokenType.HAVING,
    "IN": TokenType.IN,
    "INNER": TokenType.INNER,
    "INTERSECT": TokenType.INTERSECT,
    "INTO": TokenType.INTO,
    "IS": TokenType.IS,
    "JOIN": TokenType.JOIN,
    "LEFT": TokenType.LEFT,
    "LIKE": TokenType.LIKE,
    "LIMIT": TokenType.LIMIT,
    "NOT": TokenType.NOT,
    "NULL": TokenType.NULL,
    "OFFSET": TokenType.OFFSET,
    "ON": TokenType.ON,
    "OR": TokenType.OR,
    "ORDER BY": TokenType.ORDER_BY,
    "OUTER": TokenType.OUTER,
    "RIGHT": TokenType.RIGHT,
    "SELECT": TokenType.SELECT,
    "THEN": TokenType.THEN,
    "TRUE": TokenType.TRUE,
    "UNION": TokenType.UNION,
    "USING": TokenType.USING,
    "WHEN": TokenType.WHEN,
    "WHERE": TokenType.WHERE,
    "WITH": TokenType.WITH,
}

_GROUP: Final = "list the groups of interest with WITH KEYS, or write one SELECT for each grouping"
_JOIN: Final = "write a JOIN b ON a.key = b.key"

REFUSED_WORDS: Final[dict[str, tuple[str, str]]] = {
    "OVER": ("window functions", "group in a nested SELECT instead, by bin(chunk, ...) for windows of time"),
    "PARTITION": ("window functions", "group in a nested SELECT instead"),
    "QUALIFY": ("QUALIFY", "group in a nested SELECT and filter with HAVING"),
    "RECURSIVE": ("recursive queries", "write each step as its own nested SELECT"),
    "EXISTS": ("EXISTS", "join with the other table, made unique: JOIN (SELECT key FROM b GROUP BY key) AS b ON ..."),
    "LATERAL": ("LATERAL", _JOIN),
    "UNNEST": ("UNNEST", "let the executable return one row for each element"),
    "PIVOT": ("PIVOT", "write COUNT(*) FILTER (WHERE ...) for each column"),
    "UNPIVOT": ("UNPIVOT", "write one SELECT for each column and UNION ALL them"),
    "TABLESAMPLE": ("sampling", "sample frames with AT n FPS, or chunks with STRIDE"),
    "ROLLUP": ("ROLLUP", _GROUP),
    "CUBE": ("CUBE", _GROUP),
    "GROUPING": ("GROUPING SETS", _GROUP),
    "CROSS": ("CROSS JOIN", _JOIN),
    "NATURAL": ("NATURAL JOIN", _JOIN),
    "SEMI": ("SEMI JOIN", "write INNER JOIN with the other side made unique: (SELECT key FROM b GROUP BY key) AS b"),
    "ANTI": ("ANTI JOIN", "write EXCEPT between two SELECTs of the same key"),
    "ASOF": ("ASOF JOIN", "join on bin(chunk, ...) of both sides"),
    "FETCH": ("FETCH", "write LIMIT n"),
    "INTERVAL": ("INTERVAL", "write the duration alone, as in bin(chunk, 15 min)"),
    "VALUES": ("VALUES", "only tables made by PROCESS can be read"),
    "WITHIN": ("WITHIN GROUP", "write QUANTILE(x, q)"),
    "ILIKE": ("ILIKE", "write lower(x) LIKE '...'"),
}

CLAUSE_WORDS: Final = frozenset({"CONSUMING", "EQUIJOIN"})
"""Words that end an expression or a table, so that they are no aliases."""


class SyntaxProblem(ParseError):
    """A ParseError that knows its place: sqlglot may catch it where it tries alternatives."""

    def __init__(self, code: str, message: str, span: Span, hint: str | None) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.hint = code, message, span, hint


class PrividTokenizer(BaseTokenizer):
    """Tokens of the language: few keywords, so that most words can name columns."""

    KEYWORDS = KEYWORDS
    COMMANDS = set()
    NUMERIC_LITERALS: ClassVar[dict[str, str]] = {}
    COMMENTS = ["--", ("/*", "*/")]


PrividTokenizer._COMMENTS.pop("{#", None)


def tokenize(text: str, dialect: Dialect) -> list[Token]:
    """The tokens of a query. Raises QueryError for unclosed quotes and comments, for sizes and for refused words."""
    tokenizer = PrividTokenizer(dialect=dialect)
    try:
        tokens = tokenizer.tokenize(text)
    except TokenError as error:
        raise _unclosed(text, str(error.__cause__)) from None
    last = tokenizer._core._start
    if text.startswith("/*", last) and not (tokens and tokens[-1].end >= last):
        depth = 0
        for mark in _COMMENT_MARK.findall(text, last):
            depth += 1 if mark == "/*" else -1
        if depth > 0:
            raise QueryError("syntax", "this comment is never closed", text=text, span=(last, last + 2), hint="add */")
    _check(text, tokens)
    return tokens


def _unclosed(text: str, cause: str) -> QueryError:
    """What the tokenizer runs into at the end of the text: a quote or a comment that is never closed."""
    found = re.search(r"from \d+:(\d+)", cause)
    start = text.rfind("/*") if found is None else min(int(found[1]), max(0, len(text) - 1))
    start = max(0, start)
    what, hint = ("comment", "add */") if text.startswith("/*", start) else ("quote", "close it")
    return QueryError("syntax", f"this {what} is never closed", text=text, span=(start, start + 1), hint=hint)


def _check(text: str, tokens: list[Token]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise QueryError("too_large", f"the query has more than {MAX_TOKENS} words and signs")
    depth = 0
    for token in tokens:
        # Comments say nothing to the parser, which would make a statement of one behind a semicolon.
        token.comments = []
        if token.token_type is TokenType.L_PAREN:
            depth += 1
            if depth > MAX_DEPTH:
                span = (token.start, token.end + 1)
                hint = "name parts of it in a WITH clause"
                message = f"parentheses are nested more than {MAX_DEPTH} deep"
                raise QueryError("too_large", message, text=text, span=span, hint=hint)
        elif token.token_type is TokenType.R_PAREN:
            depth = max(0, depth - 1)
        elif token.token_type is TokenType.VAR and (refused := REFUSED_WORDS.get(token.text.upper())):
            message = f"{refused[0]} cannot be used"
            span = (token.start, token.end + 1)
            raise QueryError("unsupported", message, text=text, span=span, hint=refused[1])
