"""The words of expressions: operators, functions that may be called, and those that are refused by name."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from query_lang import functions
from query_lang import logical as lp

OPERATORS: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "add",
    exp.Sub: "sub",
    exp.Mul: "mul",
    exp.Div: "div",
    exp.Mod: "mod",
    exp.EQ: "eq",
    exp.NEQ: "ne",
    exp.LT: "lt",
    exp.LTE: "le",
    exp.GT: "gt",
    exp.GTE: "ge",
    exp.DPipe: "concat",
}
SIGNS: Final = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "concat": "||", "eq": "=", "ne": "<>", "lt": "<",
    "le": "<=", "gt": ">", "ge": ">=", "neg": "-", "and": "AND", "or": "OR", "not": "NOT", "in": "IN",
    "between": "BETWEEN", "like": "LIKE",
}  # fmt: skip

SYNONYMS: Final = {
    "ceiling": "ceil", "pow": "power", "substr": "substring", "char_length": "length", "len": "length",
    "ucase": "upper", "lcase": "lower", "ifnull": "coalesce", "nvl": "coalesce",
    "prefix": "starts_with", "suffix": "ends_with",
    "startswith": "starts_with", "endswith": "ends_with",
}  # fmt: skip

_INTERNAL: Final = frozenset(
    {*OPERATORS.values(), "neg", "and", "or", "not", "in", "is_null", "like", "between", "bin"}
    | {"to_number", "to_string", "to_boolean"}
) - {"mod", "concat"}

SCALARS: Final = frozenset(functions.REGISTRY) - _INTERNAL
"""Registry names that a query may call as functions."""

AGGREGATES: Final[dict[str, lp.Function]] = {
    "count": lp.Function.COUNT,
    "sum": lp.Function.SUM,
    "avg": lp.Function.AVG,
    "mean": lp.Function.AVG,
    "var": lp.Function.VAR,
    "var_pop": lp.Function.VAR,
    "variance": lp.Function.VAR,
    "stddev": lp.Function.STDDEV,
    "stddev_pop": lp.Function.STDDEV,
    "min": lp.Function.MIN,
    "max": lp.Function.MAX,
    "median": lp.Function.MEDIAN,
    "quantile": lp.Function.QUANTILE,
    "argmax": lp.Function.ARGMAX,
}

_CLOCK: Final = "its value is not a function of the row", "compare with TIMESTAMP '2026-12-01T08:00:00Z'"
_VOLATILE: Final = "its value is not a function of the row", "sample frames with AT n FPS, or chunks with STRIDE"
_ORDERED: Final = "it depends on the order of rows", "write MIN, MAX or ARGMAX(key, COUNT(*))"
_LISTS: Final = "one row can make its result grow without bound", "write COUNT(DISTINCT x)"
_WINDOWS: Final = "window functions have no bounded influence", "group by bin(chunk, ...) in a nested SELECT"
_SKETCH: Final = (
    "noise is added to exact results",
    "write the exact form, such as COUNT(DISTINCT x) or QUANTILE(x, 0.9)",
)
_PATTERNS: Final = "regular expressions are not offered", "write LIKE, starts_with, ends_with or contains"
_SAMPLE: Final = "VAR and STDDEV are the population forms", "write VAR(x) or STDDEV(x)"
_CALENDAR: Final = "moments are cut by other functions", "write hour(chunk), day(chunk), hour_of_day(chunk), ..."
_CHOICE: Final = "choices are written with CASE", "write CASE WHEN test THEN a ELSE b END"
_IF_COUNT: Final = "conditions on aggregates are written with FILTER", "write COUNT(*) FILTER (WHERE test)"

REFUSED_FUNCTIONS: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(("now", "current_timestamp", "current_date", "today"), _CLOCK),
    **dict.fromkeys(("random", "rand", "uuid", "hash"), _VOLATILE),
    **dict.fromkeys(("first", "last", "any_value", "arbitrary", "first_value", "last_value", "argmin"), _ORDERED),
    **dict.fromkeys(("list", "array_agg", "string_agg", "group_concat", "listagg", "histogram"), _LISTS),
    **dict.fromkeys(("row_number", "rank", "dense_rank", "lag", "lead", "ntile", "percent_rank"), _WINDOWS),
    **dict.fromkeys(("approx_count_distinct", "approx_quantile", "approx_distinct", "approx_top_k"), _SKETCH),
    **dict.fromkeys(("regexp_matches", "regexp_extract", "regexp_replace", "regexp_like"), _PATTERNS),
    **dict.fromkeys(("var_samp", "stddev_samp", "covar_pop", "corr"), _SAMPLE),
    **dict.fromkeys(("date_trunc", "strftime", "extract", "date_part", "year", "minute", "time_bucket"), _CALENDAR),
    **dict.fromkeys(("if", "iff", "decode"), _CHOICE),
    **dict.fromkeys(("count_if", "countif", "sum_if", "avg_if"), _IF_COUNT),
    "mode": ("the most frequent value needs noise of its own", "write ARGMAX(key, COUNT(*))"),
    "percentile_cont": ("quantiles are written otherwise", "write QUANTILE(x, 0.9)"),
    "percentile_disc": ("quantiles are written otherwise", "write QUANTILE(x, 0.9)"),
}
