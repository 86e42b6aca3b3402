"""The query language as a sqlglot dialect: its tokenizer and its parser, with our statements added.

The parser keeps to a small part of SQL. What sqlglot's parser would quietly accept or skip (a comma too many, a join
without ON) is an error.
"""

# ruff: noqa: RUF012, ARG002 - sqlglot's tables are class variables, and its methods have parameters that we do not need
from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError
from sqlglot.parser import Parser as BaseParser
from sqlglot.tokenizer_core import TokenType

from query_lang import nodes
from query_lang.errors import QueryError, did_you_mean
from query_lang.statement_parser import STATEMENTS, StatementParser
from query_lang.tokens import CLAUSE_WORDS, MAX_TEXT, PrividTokenizer, SyntaxProblem, tokenize

_JOIN: Final = "write a JOIN b ON a.key = b.key"


class PrividParser(StatementParser):
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

    def _parse_statement(self) -> exp.Expr | None:
        token = self._curr
        if not token:
            return None
        if self._match_text_seq("SPLIT"):
            return self._parse_split(token)
        if self._match_text_seq("PROCESS"):
            return self._parse_process(token)
        if token.token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN):
            guess = did_you_mean(token.text, STATEMENTS)
            hint = guess or "a query is made of SPLIT, PROCESS and SELECT statements, each ended by ;"
            if token.text.upper() == "EXPLAIN":
                hint = "leave it out; `privid explain` shows the plan"
            self.refuse("syntax", f"unexpected {token.text!r} at the start of a statement", token, hint)
        query = self._parse_select(nested=True)
        if isinstance(query, exp.Expr) and "start" not in query.meta:
            query.update_positions(token)
        result: exp.Expr | None = self._parse_query_modifiers(query)
        return result

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

    def _parse_lambda(self, alias: bool = False) -> exp.Expr | None:
        token = self._curr
        if self._match(TokenType.DISTINCT):
            return self.expression(exp.Distinct(expressions=self._parse_csv(self._parse_disjunction)), token)
        self._match(TokenType.ALL)
        return self._parse_disjunction()

    def _parse_window(self, this: exp.Expr | None, alias: bool = False) -> exp.Expr | None:
        # Called with a call whose parenthesis has just been closed: the place of the call ends there.
        if isinstance(this, exp.Anonymous) and self._prev.token_type is TokenType.R_PAREN:
            this.meta["end"] = self._prev.end
        return super()._parse_window(this, alias)

    def _parse_type(self, parse_interval: bool = True, fallback_to_identifier: bool = False) -> exp.Expr | None:
        return self._parse_atom() or self._parse_column()

    def _parse_types(self, *_: Any, **__: Any) -> None:
        return None

    def _parse_atom(self) -> exp.Expr | None:
        if (moment := self._parse_timestamp()) is not None:
            return moment
        return super()._parse_atom()

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
        if self._curr.token_type is TokenType.VAR:
            hint = "write us, ms, sec, min, hr, day or week; month(chunk) gives calendar months"
            self.refuse("bad_time", f"unknown unit of time {self._curr.text!r}", hint=hint)
        self._close()
        length = self.expression(nodes.Duration(this=raw.this))
        length.update_positions(raw)
        return self.expression(exp.Anonymous(this="bin", expressions=[moment, length]))

    def _close(self) -> None:
        if self._curr.token_type is not TokenType.R_PAREN:
            self._match_r_paren()


class Privid(Dialect):
    """The dialect, registered with sqlglot as "privid"."""

    Tokenizer = PrividTokenizer
    Parser = PrividParser


_DIALECT: Final = Privid()


_PLAIN = "save it as plain UTF-8 text"


def parse(text: str) -> list[exp.Expr]:
    """The statements of a script as syntax trees.

    Raises QueryError for whatever is not in the language.
    """
    if len(text) > MAX_TEXT:
        raise QueryError("too_large", f"the query is longer than {MAX_TEXT} characters")
    for offset, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise QueryError(
                "syntax", "the query is not proper text", text=text, span=(offset, offset + 1), hint=_PLAIN
            )
    try:
        statements = _DIALECT.parser().parse(tokenize(text, _DIALECT), text)
    except SyntaxProblem as problem:
        raise QueryError(problem.code, problem.message, text=text, span=problem.span, hint=problem.hint) from None
    except RecursionError:
        raise QueryError("too_large", "the query is nested too deeply", hint="split it into CTEs") from None
    except (ParseError, TypeError, AttributeError, ValueError) as error:
        # sqlglot's parser expects well-formed pieces in places; whatever it trips over is a bad query.
        raise QueryError("syntax", "the query cannot be read", hint="check its parentheses and commas") from error
    return [statement for statement in statements if isinstance(statement, exp.Expr)]
