"""The parser's statements SPLIT and PROCESS, its errors, and the small pieces they are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn, TypeVar

from sqlglot import exp
from sqlglot.parser import Parser as BaseParser
from sqlglot.tokenizer_core import Token, TokenType

from query_lang import nodes
from query_lang.errors import did_you_mean
from query_lang.tokens import CLAUSE_WORDS, KEYWORDS, SyntaxProblem
from query_lang.units import UNIT_NAMES

R = TypeVar("R")
E = TypeVar("E", bound=exp.Expr)

_SPLIT_CLAUSES: Final = "BEGIN, END, EVERY, HORIZON, BY TIME, STRIDE, BY REGION, WITH MASK, AT n FPS, RESIZE or INTO"
_PROCESS_CLAUSES: Final = "USING, WITH MODEL, TIMEOUT, PRODUCING, WITH SCHEMA or INTO"
_SCHEMA: Final = 'write WITH SCHEMA (plate:STRING="", speed:NUMBER=0)'
STATEMENTS: Final = ("SPLIT", "PROCESS", "SELECT", "WITH")


class StatementParser(BaseParser):
    """What is ours from the ground up; `query_lang.dialect` adds queries and expressions."""

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
            hint = "something is missing at its end"
            raise SyntaxProblem("syntax", "the statement ends too early", (last.end, last.end + 1), hint)
        if message.startswith("Found multiple"):
            self.refuse("syntax", f"a second {at.text.upper()} clause", at, "write one, or nest another SELECT")
        self.refuse("syntax", f"unexpected {at.text!r}", at, _expected(message) or self._guess(at))

    def _guess(self, token: Token) -> str | None:
        """A keyword that this word, or the one before (taken for a name), may be meant for."""
        words = [word for word in (*KEYWORDS, *CLAUSE_WORDS) if word.isalpha() and len(word) > 3]
        if token.token_type is TokenType.COLON:
            return "types are converted with CAST(x AS NUMBER)"
        for word, least in ((token, 1), (self._prev, 5)):
            known = word and word.token_type is TokenType.VAR and len(word.text) >= least
            if known and (guess := did_you_mean(word.text, words)):
                return guess
        return None

    def expression(self, instance: E, token: Token | None = None, comments: list[str] | None = None) -> E:
        """As in sqlglot; a DISTINCT that has nothing below it gets a place."""
        if token is None and type(instance) is exp.Distinct and not instance.expressions:
            token = self._prev
        return super().expression(instance, token, comments)

    # --- statements ---------------------------------------------------------------------------------------

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
            elif self._match_text_seq("HORIZON"):
                self._once(args, "horizon", "HORIZON", token)
                args["horizon"] = self._parse_duration()
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
                if self._match_text_seq("CALLS"):
                    args["calls"] = self._parse_run("a number of calls")
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

    def _parse_timestamp(self) -> nodes.Moment | None:
        if self._next.token_type is not TokenType.STRING or self._curr.token_type is not TokenType.VAR:
            return None
        if self._curr.text.upper() != "TIMESTAMP":
            return None
        start = self._curr
        self._advance(2)
        node = self.expression(nodes.Moment(this=self._prev.text))
        return node.update_positions(start=start.start, end=self._prev.end)

    def _parse_csv(self, parse_method: Callable[[], R | None], sep: TokenType = TokenType.COMMA) -> list[R]:
        first = parse_method()
        items = [] if first is None else [first]
        while self._match(sep):
            item = parse_method()
            if item is None:
                self.refuse("syntax", "expected something after the comma")
            items.append(item)
        return items

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


def _constant(token: Token) -> exp.Expr:
    if token.token_type in (TokenType.TRUE, TokenType.FALSE):
        return exp.Boolean(this=token.token_type is TokenType.TRUE)
    return exp.Literal(this=token.text, is_string=token.token_type is TokenType.STRING)


def _expected(message: str) -> str | None:
    """The part of sqlglot's message that helps a person."""
    if message.startswith("Required argument"):
        return "something is missing before it"
    if message.startswith(("Expecting ", "Expected table name", "Expected CTE")):
        return {
            "Expecting )": "expected )",
            "Expecting (": "expected (",
        }.get(message, "expected the name of a table" if "table" in message else "write WITH name AS (SELECT ...)")
    return None
