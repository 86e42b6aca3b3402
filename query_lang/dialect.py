"""The query language as a sqlglot dialect: its tokenizer and its parser, with our statements added.

The parser keeps to a small part of SQL. Words of constructs that have no known stability are reserved and refused where
they stand; what sqlglot's parser would quietly accept or skip (a comma too many, a join without ON) is an error.
"""

# ruff: noqa: RUF012, ARG002 - sqlglot's tables are class variables, and its methods have parameters that we do not need
from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser as BaseParser
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer as BaseTokenizer

from query_lang import nodes
from query_lang.errors import QueryError, Span, did_you_mean
from query_lang.units import UNIT_NAMES

MAX_TEXT: Final = 100_000
MAX_TOKENS: Final = 20_000
MAX_DEPTH: Final = 40

R = TypeVar("R")

_KEYWORDS: Final = {
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

_SPLIT_CLAUSES: Final = "BEGIN, END, BY TIME, STRIDE, BY REGION, WITH MASK, AT n FPS, RESIZE or INTO"
_PROCESS_CLAUSES: Final = "USING, WITH MODEL, TIMEOUT, PRODUCING, WITH SCHEMA or INTO"
_SCHEMA: Final = 'write WITH SCHEMA (plate:STRING="", speed:NUMBER=0)'
_STATEMENTS: Final = ("SPLIT", "PROCESS", "SELECT", "WITH")


class SyntaxProblem(ParseError):
    """A ParseError that knows its place: sqlglot may catch it where it tries alternatives."""

    def __init__(self, code: str, message: str, span: Span, hint: str | None) -> None:
        super().__init__(message)
        self.code, self.message, self.span, self.hint = code, message, span, hint


class PrividTokenizer(BaseTokenizer):
    """Tokens of the language: few keywords, so that most words can name columns."""

    KEYWORDS = _KEYWORDS
    COMMANDS = set()
    NUMERIC_LITERALS: ClassVar[dict[str, str]] = {}
    COMMENTS = ["--", ("/*", "*/")]


PrividTokenizer._COMMENTS.pop("{#", None)


class PrividParser(BaseParser):
    """Statements SPLIT, PROCESS and SELECT."""

    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS = {"CASE": lambda self: self._parse_case()}
    FUNCTION_PARSERS = {
        "CAST": lambda self: self._parse_cast_call(),
        "TRY_CAST": lambda self: self._parse_cast_call(),
        "BIN": lambda self: self._parse_bin(),
    }
    STATEMENT_PARSERS: ClassVar[dict[Any, Any]] = {}
    PLACEHOLDER_PARSERS: ClassVar[dict[Any, Any]] = {}
    LAMBDAS: ClassVar[dict[Any, Any]] = {}
    ASSIGNMENT: ClassVar[dict[Any, Any]] = {}
    BITWISE: ClassVar[dict[Any, Any]] = {}
    TERM = {TokenType.DASH: exp.Sub, TokenType.PLUS: exp.Add}
    FACTOR = {TokenType.MOD: exp.Mod, TokenType.SLASH: exp.Div, TokenType.STAR: exp.Mul}
    EQUALITY = {TokenType.EQ: exp.EQ, TokenType.NEQ: exp.NEQ}
    UNARY_PARSERS = {
        TokenType.PLUS: lambda self: self._parse_unary(),
        TokenType.NOT: lambda self: self.expression(exp.Not(this=self._parse_equality())),
        TokenType.DASH: lambda self: self.expression(exp.Neg(this=self._parse_unary())),
    }
    RANGE_PARSERS = {
        token: BaseParser.RANGE_PARSERS[token]
        for token in (TokenType.BETWEEN, TokenType.IN, TokenType.IS, TokenType.LIKE)
    }
    STRING_PARSERS = {TokenType.STRING: BaseParser.STRING_PARSERS[TokenType.STRING]}
    NUMERIC_PARSERS = {TokenType.NUMBER: BaseParser.NUMERIC_PARSERS[TokenType.NUMBER]}
    PRIMARY_PARSERS = {
        **STRING_PARSERS,
        **NUMERIC_PARSERS,
        TokenType.NULL: lambda self, token: self.expression(exp.Null(), token),
        TokenType.TRUE: lambda self, token: self.expression(exp.Boolean(this=True), token),
        TokenType.FALSE: lambda self, token: self.expression(exp.Boolean(this=False), token),
        TokenType.STAR: lambda self, token: self.expression(exp.Star(), token),
    }
    COLUMN_OPERATORS = {TokenType.DOT: None}
    CAST_COLUMN_OPERATORS: ClassVar[set[TokenType]] = set()
    QUERY_MODIFIER_PARSERS = {
        token: BaseParser.QUERY_MODIFIER_PARSERS[token]
        for token in (
            TokenType.WHERE,
            TokenType.GROUP_BY,
            TokenType.HAVING,
            TokenType.ORDER_BY,
            TokenType.LIMIT,
            TokenType.OFFSET,
        )
    }
    QUERY_MODIFIER_TOKENS = set(QUERY_MODIFIER_PARSERS)
    JOIN_METHODS: ClassVar[set[TokenType]] = set()
    JOIN_KINDS = {TokenType.INNER, TokenType.OUTER}
    ID_VAR_TOKENS = {TokenType.VAR, TokenType.FILTER, TokenType.OFFSET}
    ALIAS_TOKENS = ID_VAR_TOKENS
    TABLE_ALIAS_TOKENS = ID_VAR_TOKENS
    FUNC_TOKENS = {TokenType.VAR, TokenType.LEFT, TokenType.RIGHT}
    OPTIONAL_ALIAS_TOKEN_CTE = False
    SUPPORTS_DIRECTED_JOIN = False

    # --- errors -------------------------------------------------------------------------------------------

    def refuse(self, code: str, message: str, token: Token | None = None, hint: str | None = None) -> NoReturn:
        """Stop at a token, by default the current one."""
        token = token or self._curr or self._prev
        raise SyntaxProblem(code, message, (token.start, token.end + 1), hint)

    def raise_error(self, message: str, token: Token | None = None) -> NoReturn:
        """Stop where sqlglot's parser cannot go on, in our words."""
        at = token or self._curr
        if not at:
            last = self._prev or self._tokens[-1]
            raise SyntaxProblem("syntax", "the statement ends too early", (last.end, last.end + 1), _expected(message))
        if message.startswith("Found multiple"):
            self.refuse("syntax", f"a second {at.text.upper()} clause", at, "write one, or nest another SELECT")
        self.refuse("syntax", f"unexpected {at.text!r}", at, _expected(message) or self._guess(at))

    def _guess(self, token: Token) -> str | None:
        if token.token_type is not TokenType.VAR:
            return None
        words = [word for word in (*_KEYWORDS, *CLAUSE_WORDS) if word.isalpha()]
        return did_you_mean(token.text, words)

    # --- statements ---------------------------------------------------------------------------------------

    def _parse_statement(self) -> exp.Expr | None:
        token = self._curr
        if not token:
            return None
        if self._match_text_seq("SPLIT"):
            return self._parse_split(token)
        if self._match_text_seq("PROCESS"):
            return self._parse_process(token)
        if token.token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN):
            guess = did_you_mean(token.text, _STATEMENTS)
            hint = guess or "a query is made of SPLIT, PROCESS and SELECT statements, each ended by ;"
            if token.text.upper() == "EXPLAIN":
                hint = "ask for the plan with `privid explain`; the text is the query alone"
            self.refuse("syntax", f"unexpected {token.text!r} at the start of a statement", token, hint)
        query = self._parse_select(nested=True)
        if isinstance(query, exp.Expr) and "start" not in query.meta:
            query.update_positions(token)
        result: exp.Expr | None = self._parse_query_modifiers(query)
        return result

    def _once(self, args: dict[str, Any], key: str, clause: str, token: Token) -> None:
        if key in args:
            self.refuse("syntax", f"a second {clause}", token, "each clause is written once")

    def _parse_split(self, start: Token) -> nodes.Split:
        args: dict[str, Any] = {"this": self._parse_name("a camera")}
        while (token := self._curr) and "into" not in args:
            if self._match_text_seq("BEGIN"):
                self._once(args, "begin", "BEGIN", token)
                args["begin"] = self._parse_moment()
            elif self._match_text_seq("END"):
                self._once(args, "end", "END", token)
                args["end"] = self._parse_moment()
            elif self._match_text_seq("EVERY"):
                self._once(args, "every", "EVERY", token)
                args["every"] = self._parse_duration()
            elif self._match_text_seq("BY", "TIME"):
                self._once(args, "chunk", "BY TIME", token)
                args["chunk"] = self._parse_duration()
            elif self._match_text_seq("STRIDE"):
                self._once(args, "stride", "STRIDE", token)
                args["stride"] = self._parse_duration()
            elif self._match_text_seq("BY", "REGION"):
                self._once(args, "region", "BY REGION", token)
                args["region"] = self._parse_name("a region scheme")
            elif self._match_text_seq("WITH", "MASK"):
                self._once(args, "masks", "WITH MASK", token)
                args["masks"] = self._parse_csv(lambda: self._parse_name("a mask"))
            elif self._match_text_seq("AT"):
                self._once(args, "fps", "AT", token)
                args["fps"] = self._parse_run("a number of frames a second")
                if not self._match_text_seq("FPS"):
                    self.refuse("syntax", "expected FPS", hint="write AT 5 FPS")
            elif self._match_text_seq("RESIZE"):
                self._once(args, "resize", "RESIZE", token)
                args["resize"] = self._parse_size()
            elif self._match(TokenType.INTO):
                args["into"] = self._parse_name("a name for the chunks")
            else:
                self._refuse_clause(token, "SPLIT", _SPLIT_CLAUSES)
        self._require(args, start, (("begin", "BEGIN"), ("end", "END"), ("chunk", "BY TIME"), ("into", "INTO")))
        return self.expression(nodes.Split(**args), start)

    def _parse_process(self, start: Token) -> nodes.Process:
        args: dict[str, Any] = {"this": self._parse_name("the chunks of a SPLIT")}
        while (token := self._curr) and "into" not in args:
            if self._match(TokenType.USING):
                self._once(args, "using", "USING", token)
                args["using"] = self._parse_run("an executable, such as 'people.py'")
            elif self._match_text_seq("WITH", "MODEL"):
                self._once(args, "model", "WITH MODEL", token)
                args["model"] = self._parse_run("a model, such as 'plates.onnx'")
            elif self._match_text_seq("TIMEOUT"):
                self._once(args, "timeout", "TIMEOUT", token)
                args["timeout"] = self._parse_duration()
            elif self._match_text_seq("PRODUCING"):
                self._once(args, "rows", "PRODUCING", token)
                args["exact"] = self._match_text_seq("EXACTLY")
                args["rows"] = self._parse_run("a number of rows")
                if not self._match_texts(("ROWS", "ROW")):
                    self.refuse("syntax", "expected ROWS", hint="write PRODUCING 10 ROWS or PRODUCING EXACTLY 1 ROWS")
            elif self._match_text_seq("WITH", "SCHEMA"):
                self._once(args, "expressions", "WITH SCHEMA", token)
                args["expressions"] = self._parse_schema_columns()
            elif self._match(TokenType.INTO):
                args["into"] = self._parse_name("a name for the table")
            else:
                self._refuse_clause(token, "PROCESS", _PROCESS_CLAUSES)
        required = ("using", "USING"), ("timeout", "TIMEOUT"), ("rows", "PRODUCING"), ("expressions", "WITH SCHEMA")
        self._require(args, start, (*required, ("into", "INTO")))
        return self.expression(nodes.Process(**args), start)

    def _refuse_clause(self, token: Token, statement: str, clauses: str) -> NoReturn:
        words = re.findall(r"[A-Z]{2,}", clauses)
        guess = did_you_mean(token.text, words)
        self.refuse("syntax", f"unexpected {token.text!r} in {statement}", token, guess or f"expected {clauses}")

    def _require(self, args: dict[str, Any], start: Token, required: Collection[tuple[str, str]]) -> None:
        for key, clause in required:
            if key not in args:
                self.refuse("syntax", f"this {start.text.upper()} has no {clause}", start, f"add {clause} ...")
        if self._curr:
            self.refuse(
                "syntax",
                f"unexpected {self._curr.text!r} after INTO",
                hint="INTO ends the statement: put other clauses before it, and ; after it",
            )

    def _parse_name(self, what: str) -> exp.Identifier:
        token = self._curr
        if not self._match_set((TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING)) or not token.text:
            self.refuse("syntax", f"expected {what}" + (f", found {token.text!r}" if token else ""))
        quoted = token.token_type is not TokenType.VAR
        return self.expression(exp.Identifier(this=token.text, quoted=quoted), token)

    def _parse_schema_columns(self) -> list[nodes.SchemaColumn]:
        if not self._match(TokenType.L_PAREN):
            self.refuse(
                "syntax", "expected ( after WITH SCHEMA", hint='write WITH SCHEMA (plate:STRING="", speed:NUMBER=0)'
            )
        columns = self._parse_csv(self._parse_schema_column)
        self._match_r_paren()
        return columns

    def _parse_schema_column(self) -> nodes.SchemaColumn:
        name = self._parse_name("a column")
        if not self._match(TokenType.COLON):
            self.refuse("syntax", f"expected : and the type of column {name.name}", hint=f"write {name.name}:NUMBER=0")
        kind = self._parse_name("a type: STRING, NUMBER or BOOLEAN")
        if not self._match(TokenType.EQ):
            self.refuse(
                "syntax",
                f"column {name.name} has no default",
                self._prev,
                f"write {name.name}:{kind.name}=..., the value for rows that the executable gets wrong",
            )
        return self.expression(nodes.SchemaColumn(this=name, kind=kind, default=self._parse_constant()))

    def _parse_constant(self) -> exp.Expr:
        """A literal where strings may stand in double quotes: defaults and WITH KEYS."""
        token = self._curr
        if self._match(TokenType.IDENTIFIER):
            return self.expression(exp.Literal(this=token.text, is_string=True), token)
        if self._match(TokenType.DASH):
            if self._curr.token_type is not TokenType.NUMBER:
                self.refuse("syntax", "expected a number after -")
            number = self._parse_number()
            return self.expression(exp.Neg(this=number), token)
        if (moment := self._parse_timestamp()) is not None:
            return moment
        if token.token_type in (TokenType.STRING, TokenType.NUMBER, TokenType.TRUE, TokenType.FALSE):
            self._advance()
            return self.expression(_constant(token), token)
        return self.refuse("syntax", "expected a constant: a number, 'text', TRUE or FALSE")

    # --- pieces of text -----------------------------------------------------------------------------------

    def _raw(self, first: Token, last: Token) -> nodes.Raw:
        text = first.text if first is last and first.token_type is TokenType.STRING else self._find_sql(first, last)
        return self.expression(nodes.Raw(this=text), first).update_positions(start=first.start, end=last.end)

    def _parse_run(self, what: str) -> nodes.Raw:
        """The tokens from here to the next blank."""
        first = self._curr
        if not first or first.token_type is TokenType.COMMA:
            self.refuse("syntax", f"expected {what}")
        self._advance()
        if first.token_type is not TokenType.STRING:
            while self._is_connected() and self._curr.token_type not in (TokenType.COMMA, TokenType.R_PAREN):
                self._advance()
        return self._raw(first, self._prev)

    def _parse_moment(self) -> nodes.Raw:
        first = self._curr
        self._parse_run("a moment")
        date = self._prev is not first
        if date and self._curr.token_type is TokenType.NUMBER and self._next.token_type is TokenType.COLON:
            self._parse_run("a time")
        return self._raw(first, self._prev)

    def _parse_duration(self) -> nodes.Raw:
        first = self._curr
        self._parse_run("a duration, such as 5sec")
        if self._prev.token_type is TokenType.NUMBER and self._curr.token_type is TokenType.VAR:
            unit = self._curr.text.lower()
            if unit in UNIT_NAMES or unit in ("frame", "frames"):
                self._advance()
        return self._raw(first, self._prev)

    def _parse_size(self) -> nodes.Raw:
        first = self._curr
        self._parse_run("a size, such as 640x360")
        while self._curr.text.lower().startswith("x") or (self._curr.token_type is TokenType.NUMBER):
            self._advance()
        return self._raw(first, self._prev)

    # --- queries ------------------------------------------------------------------------------------------

    def _parse_query_modifiers(self, this: Any) -> Any:
        this = super()._parse_query_modifiers(this)
        while isinstance(this, exp.Query):
            token = self._curr
            if self._match_text_seq("CONSUMING"):
                if this.args.get("consuming"):
                    self.refuse("syntax", "a second CONSUMING", token)
                if self._curr.token_type is not TokenType.NUMBER:
                    self.refuse("syntax", "expected the epsilon to consume", hint="write CONSUMING 0.5")
                this.set("consuming", self._parse_number())
            elif self._match_text_seq("WITH", "WINDOW"):
                if this.args.get("time_window"):
                    self.refuse("syntax", "a second WITH WINDOW", token)
                this.set("time_window", self._parse_duration())
            else:
                break
            this = super()._parse_query_modifiers(this)
        return this

    def _parse_group(self, skip_group_by_token: bool = False) -> exp.Group | None:
        if not skip_group_by_token and not self._match(TokenType.GROUP_BY):
            return None
        token = self._prev
        return self.expression(exp.Group(expressions=self._parse_csv(self._parse_group_key)), token)

    def _parse_group_key(self) -> exp.Expr:
        key = self._parse_disjunction()
        if key is None:
            self.refuse("syntax", "expected something to group by")
        if not self._match_text_seq("WITH", "KEYS"):
            return key
        if not self._match(TokenType.L_BRACKET):
            self.refuse("syntax", "expected [ after WITH KEYS", hint='write WITH KEYS ["RED", "WHITE"]')
        items = self._parse_csv(self._parse_key_item)
        if not self._match(TokenType.R_BRACKET):
            self.refuse("syntax", "expected , or ] in WITH KEYS")
        return self.expression(nodes.Keyed(this=key, expressions=items))

    def _parse_key_item(self) -> exp.Expr:
        token = self._curr
        for opening, closing in ((TokenType.L_PAREN, TokenType.R_PAREN), (TokenType.L_BRACKET, TokenType.R_BRACKET)):
            if self._match(opening):
                values = self._parse_csv(self._parse_constant)
                if not self._match(closing):
                    self.refuse("syntax", "expected , or the end of the group")
                return self.expression(exp.Tuple(expressions=values), token)
        return self._parse_constant()

    def _parse_table(self, *args: Any, **kwargs: Any) -> exp.Expr | None:
        if self._curr.token_type is TokenType.L_PAREN and self._on_set_ahead():
            return self._parse_on_set()
        if self._curr.token_type in (TokenType.STRING, TokenType.NUMBER):
            self.refuse("syntax", "expected a table", hint="FROM reads the table that a PROCESS made INTO a name")
        table: exp.Expr | None = super()._parse_table(*args, **kwargs)
        return table

    def _on_set_ahead(self) -> bool:
        """Whether the parenthesis here holds `t1 UNION t2 ON column`."""
        depth, found = 0, False
        for token in self._tokens[self._index :]:
            kind = token.token_type
            if kind in (TokenType.L_PAREN, TokenType.R_PAREN):
                depth += 1 if kind is TokenType.L_PAREN else -1
                if depth == 0:
                    return False
            elif depth == 1:
                if kind is TokenType.SELECT:
                    return False
                if kind in (TokenType.UNION, TokenType.INTERSECT) or token.text.upper() == "EQUIJOIN":
                    found = True
                elif kind is TokenType.ON:
                    return found
        return False

    def _parse_on_set(self) -> nodes.OnSet:
        token = self._curr
        self._advance()
        left = self._parse_table()
        kind = self._curr
        if not self._match_set((TokenType.UNION, TokenType.INTERSECT)) and not self._match_text_seq("EQUIJOIN"):
            self.refuse("syntax", f"unexpected {kind.text!r}", hint="write (t1 UNION t2 ON column)")
        right = self._parse_table()
        if not self._match(TokenType.ON):
            self.refuse("syntax", "expected ON and a column", hint="write (t1 UNION t2 ON column)")
        column = self._parse_name("a column")
        self._match_r_paren()
        alias = self._parse_table_alias()
        node = nodes.OnSet(this=left, expression=right, kind=kind.text.upper(), on=column, alias=alias)
        return self.expression(node, token)

    def _parse_join(self, *_: Any, **__: Any) -> exp.Join | None:
        token = self._curr
        if token.token_type is TokenType.COMMA:
            self.refuse("unsupported", "tables are not joined by a comma", token, _JOIN)
        _method, side, kind = self._parse_join_parts()
        if not self._match(TokenType.JOIN):
            if side or kind:
                self.refuse("syntax", "expected JOIN")
            return None
        args: dict[str, Any] = {"this": self._parse_table()}
        if side:
            args["side"] = side.text.upper()
        if self._match(TokenType.ON):
            args["on"] = self._parse_disjunction()
        elif self._match(TokenType.USING):
            args["using"] = self._parse_wrapped_csv(lambda: self._parse_name("a column"))
        else:
            self.refuse("syntax", "expected ON and the columns that are equal", hint=_JOIN)
        return self.expression(exp.Join(**args), token)

    def _parse_table_alias(self, alias_tokens: Collection[TokenType] | None = None) -> exp.TableAlias | None:
        alias = self._parse_alias_name()
        if alias is None:
            return None
        if self._curr.token_type is TokenType.L_PAREN:
            self.refuse("unsupported", "columns are not renamed here", hint="name them in the SELECT: SELECT x AS y")
        return self.expression(exp.TableAlias(this=alias))

    def _parse_alias(self, this: exp.Expr | None, explicit: bool = False) -> exp.Expr | None:
        if this is None or (explicit and self._curr.token_type is not TokenType.ALIAS):
            return this
        alias = self._parse_alias_name()
        return this if alias is None else self.expression(exp.Alias(this=this, alias=alias))

    def _parse_alias_name(self) -> exp.Identifier | None:
        if self._match(TokenType.ALIAS):
            return self._parse_name("a name after AS")
        token = self._curr
        if token.token_type is TokenType.IDENTIFIER:
            return self._parse_name("a name")
        if token.token_type is TokenType.VAR and token.text.upper() not in CLAUSE_WORDS:
            return self._parse_name("a name")
        return None

    def _parse_ordered(self, parse_method: Callable[[], Any] | None = None) -> exp.Ordered | None:
        this = self._parse_disjunction()
        if this is None:
            self.refuse("syntax", "expected something to order by")
        self._match(TokenType.ASC)
        descending = self._match(TokenType.DESC)
        if self._match_text_seq("NULLS"):
            self.refuse("unsupported", "NULLS FIRST and NULLS LAST are not offered", self._prev, "leave them out")
        return self.expression(exp.Ordered(this=this, desc=descending, nulls_first=False))

    def _parse_limit(self, this: Any = None, top: bool = False, skip_limit_token: bool = False) -> Any:
        return self._parse_count(exp.Limit) if self._match(TokenType.LIMIT) else this

    def _parse_offset(self, this: Any = None) -> Any:
        return self._parse_count(exp.Offset) if self._match(TokenType.OFFSET) else this

    def _parse_count(self, kind: type[exp.Expr]) -> exp.Expr:
        token = self._curr
        if not self._match(TokenType.NUMBER):
            self.refuse("syntax", f"expected a number of rows after {self._prev.text.upper()}")
        count = self.expression(exp.Literal(this=token.text, is_string=False), token)
        return self.expression(kind(expression=count), token)

    # --- expressions --------------------------------------------------------------------------------------

    def _parse_csv(self, parse_method: Callable[[], R | None], sep: TokenType = TokenType.COMMA) -> list[R]:
        first = parse_method()
        items = [] if first is None else [first]
        while self._match(sep):
            item = parse_method()
            if item is None:
                self.refuse("syntax", "expected something after the comma")
            items.append(item)
        return items

    def _parse_lambda(self, alias: bool = False) -> exp.Expr | None:
        token = self._curr
        if self._match(TokenType.DISTINCT):
            return self.expression(exp.Distinct(expressions=self._parse_csv(self._parse_disjunction)), token)
        self._match(TokenType.ALL)
        return self._parse_disjunction()

    def _parse_type(self, parse_interval: bool = True, fallback_to_identifier: bool = False) -> exp.Expr | None:
        return self._parse_atom() or self._parse_column()

    def _parse_types(self, *_: Any, **__: Any) -> None:
        return None

    def _parse_atom(self) -> exp.Expr | None:
        if (moment := self._parse_timestamp()) is not None:
            return moment
        return super()._parse_atom()

    def _parse_timestamp(self) -> nodes.Moment | None:
        if self._next.token_type is not TokenType.STRING or self._curr.token_type is not TokenType.VAR:
            return None
        if self._curr.text.upper() != "TIMESTAMP":
            return None
        start = self._curr
        self._advance(2)
        node = self.expression(nodes.Moment(this=self._prev.text))
        return node.update_positions(start=start.start, end=self._prev.end)

    def _parse_bracket(self, this: exp.Expr | None = None) -> exp.Expr | None:
        if self._curr.token_type in self.BRACKETS:
            self.refuse("unsupported", "lists and subscripts are not offered", hint="use IN (...) for a list of values")
        return this

    def _parse_case(self) -> exp.Expr | None:
        start = self._prev
        operand = None if self._curr.token_type is TokenType.WHEN else self._parse_disjunction()
        ifs = []
        while self._match(TokenType.WHEN):
            test = self._parse_disjunction()
            if not self._match(TokenType.THEN):
                self.refuse("syntax", "expected THEN", hint="write CASE WHEN test THEN value ELSE value END")
            ifs.append(self.expression(exp.If(this=test, true=self._parse_disjunction())))
        if not ifs:
            self.refuse("syntax", "expected WHEN after CASE", hint="write CASE WHEN test THEN value ELSE value END")
        default = None
        if self._match(TokenType.ELSE):
            default = self._parse_disjunction()
            if default is None:
                self.refuse("syntax", "expected a value after ELSE")
        if not self._match(TokenType.END):
            self.refuse("syntax", "expected END after CASE", hint="write CASE WHEN test THEN value ELSE value END")
        return self.expression(exp.Case(this=operand, ifs=ifs, default=default), start)

    def _parse_between(self, this: exp.Expr | None) -> exp.Between:
        low = self._parse_bitwise()
        if not self._match(TokenType.AND):
            self.refuse("syntax", "expected AND", hint="write x BETWEEN low AND high")
        return self.expression(exp.Between(this=this, low=low, high=self._parse_bitwise()))

    def _parse_in(self, this: exp.Expr | None, alias: bool = False) -> exp.In:
        if not self._match(TokenType.L_PAREN):
            self.refuse("syntax", "expected ( after IN", hint="write x IN ('a', 'b')")
        if self._curr.token_type in (TokenType.SELECT, TokenType.WITH):
            self.refuse(
                "unsupported",
                "IN (SELECT ...) is not offered",
                hint="join with the other table, made unique: JOIN (SELECT key FROM b GROUP BY key) AS b ON ...",
            )
        values = self._parse_csv(self._parse_disjunction)
        self._match_r_paren()
        return self.expression(exp.In(this=this, expressions=values))

    def _parse_cast_call(self) -> exp.Expr:
        this = self._parse_disjunction()
        if not self._match(TokenType.ALIAS):
            self.refuse("syntax", "expected AS and a type", hint="write CAST(x AS NUMBER)")
        kind = self._parse_name("a type: STRING, NUMBER or BOOLEAN")
        self._close()
        return self.expression(nodes.Convert(this=this, kind=kind))

    def _parse_bin(self) -> exp.Expr:
        moment = self._parse_disjunction()
        if not self._match(TokenType.COMMA):
            self.refuse("syntax", "expected , and the length of a bin", hint="write bin(chunk, 15 min)")
        raw = self._parse_duration()
        self._close()
        length = self.expression(nodes.Duration(this=raw.this))
        length.update_positions(raw)
        return self.expression(exp.Anonymous(this="bin", expressions=[moment, length]))

    def _close(self) -> None:
        if self._curr.token_type is not TokenType.R_PAREN:
            self._match_r_paren()


def _constant(token: Token) -> exp.Expr:
    if token.token_type in (TokenType.TRUE, TokenType.FALSE):
        return exp.Boolean(this=token.token_type is TokenType.TRUE)
    return exp.Literal(this=token.text, is_string=token.token_type is TokenType.STRING)


def _expected(message: str) -> str | None:
    """The part of sqlglot's message that helps a person."""
    if message.startswith(("Expecting ", "Expected table name", "Expected CTE")):
        return {
            "Expecting )": "expected )",
            "Expecting (": "expected (",
        }.get(message, "expected the name of a table" if "table" in message else "write WITH name AS (SELECT ...)")
    return None


class Privid(Dialect):
    """The dialect, registered with sqlglot as "privid"."""

    Tokenizer = PrividTokenizer
    Parser = PrividParser


_DIALECT: Final = Privid()
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")


def parse(text: str) -> list[exp.Expr]:
    """The statements of a script as syntax trees.

    Raises QueryError for whatever is not in the language.
    """
    if len(text) > MAX_TEXT:
        raise QueryError("too_large", f"the query is longer than {MAX_TEXT} characters")
    for offset, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise QueryError("syntax", "the query is not proper text", text=text, span=(offset, offset + 1))
    try:
        tokens = _tokenize(text)
        _check_tokens(text, tokens)
        statements = _DIALECT.parser().parse(tokens, text)
    except SyntaxProblem as problem:
        raise QueryError(problem.code, problem.message, text=text, span=problem.span, hint=problem.hint) from None
    except RecursionError:
        raise QueryError("too_large", "the query is nested too deeply", hint="split it into CTEs") from None
    except (ParseError, TypeError, AttributeError, ValueError) as error:
        # sqlglot's parser expects well-formed pieces in places; whatever it trips over is a bad query.
        raise QueryError("syntax", "the query cannot be read", hint="check its parentheses and commas") from error
    return [statement for statement in statements if isinstance(statement, exp.Expr)]


def _tokenize(text: str) -> list[Token]:
    tokenizer = PrividTokenizer(dialect=_DIALECT)
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
    return tokens


def _unclosed(text: str, cause: str) -> QueryError:
    """What the tokenizer runs into at the end of the text: a quote or a comment that is never closed."""
    found = re.search(r"from \d+:(\d+)", cause)
    start = text.rfind("/*") if found is None else min(int(found[1]), max(0, len(text) - 1))
    start = max(0, start)
    what, hint = ("comment", "add */") if text.startswith("/*", start) else ("quote", "close it")
    return QueryError("syntax", f"this {what} is never closed", text=text, span=(start, start + 1), hint=hint)


def _check_tokens(text: str, tokens: list[Token]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise QueryError("too_large", f"the query has more than {MAX_TOKENS} words and signs")
    depth = 0
    for token in tokens:
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
            message = f"{refused[0]} cannot be used: how far one row moves the result is not bounded"
            span = (token.start, token.end + 1)
            raise QueryError("unsupported", message, text=text, span=span, hint=refused[1])
