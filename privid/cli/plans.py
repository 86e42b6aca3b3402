"""Plans for people: what a query releases, how each operator bounds one person's influence, and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from privid.cli.terminal import InputError
from privid.cli.views import span_text
from privid.domain.units import SECOND, isoformat
from privid.owner.guarantee import plain_duration

Document = Mapping[str, Any]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48
"""Characters of a charge profile."""


# --- expectations -------------------------------------------------------------------------------------------


def expectations(pairs: Sequence[str]) -> dict[str, float]:
    """The values of `--expect COLUMN=VALUE`. Raises InputError."""
    found = {}
    for pair in pairs:
        column, separator, text = pair.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not separator or not column or not 0 < abs(value) < float("inf"):
            hint = "name a column and a value other than 0: --expect count_1=250"
            raise InputError("usage", f"--expect {pair}: not COLUMN=VALUE", hint)
        found[column] = value
    return found


def with_expectations(document: Document, expected: Mapping[str, float]) -> dict[str, Any]:
    """The document, each release of a column with an expected value having `expected` and `relative_error` as well.

    The relative error is the mean absolute error of the noise over the value; None where the noise is not public, as
    for an average over a noisy number of rows. Raises InputError for a column that is not released.
    """
    columns = {release["column"].casefold() for release in document["releases"]}
    for column in expected:
        if column.casefold() not in columns:
            names = ", ".join(dict.fromkeys(release["column"] for release in document["releases"]))
            raise InputError("unknown_name", f"--expect {column}: no such released column", f"there is: {names}")
    by_name = {column.casefold(): value for column, value in expected.items()}
    releases = []
    for release in document["releases"]:
        value = by_name.get(release["column"].casefold())
        if value is not None:
            error = release["expected_error"]
            release = release | {"expected": value, "relative_error": None if error is None else error / abs(value)}
        releases.append(release)
    return {**document, "releases": releases}


# --- the picture --------------------------------------------------------------------------------------------


def print_plan(console: Console, document: Document, name: str) -> None:
    """What a query would mean and cost."""
    public = span_text(int(float(document["public_time_s"]) * SECOND))
    chunks = _count(document["chunks"], "chunk")
    console.print(Text(f"{name}: {chunks}, answer visible {public} after it begins", style="bold"))
    for plan in document["plans"]:
        releases = [release for release in document["releases"] if release["select"] == plan["select"]]
        console.print(_select(plan, releases))
    for charge in document["charges"]:
        _print_charge(console, charge)
    for process in document.get("processes") or ():  # older servers do not say
        console.print(Text(f"{process['table']}: {process['executable']} runs under {_walls(process)}"))
    if "standing" in document:
        _print_standing(console, document["standing"])
    if document.get("admissible") is not None:
        best = document.get("admissible_epsilon")
        limit = f" (up to {best:.6g} for all of it)" if best else ""
        console.print(Text(f"admissible now: {'yes' if document['admissible'] else 'no'}{limit}"))
        for refusal in document.get("refusals") or ():
            span = f"{isoformat(refusal['from_us'])} .. {isoformat(refusal['to_us'])}"
            console.print(
                Text(f"  {refusal['camera']} {span}: {refusal['left']:.6g} left, {refusal['asked']:.6g} asked")
            )
        if window := document.get("admissible_window"):
            begin, end = isoformat(window["from_us"]), isoformat(window["to_us"])
            console.print(Text(f"  BEGIN {begin} END {end} would be admitted as asked"))
    if any(mechanism["interval95"] for release in document["releases"] for mechanism in release["mechanisms"]):
        console.print(Text("± is a 95 % interval of the noise", style="dim"))


def _walls(process: Document) -> str:
    least = process["isolation"]
    used = process["backend"]
    if used is None:
        return f"isolation {least} at least"
    return f"isolation {used}" + ("" if used == least else f" (the policy asks for {least} at least)")


def _select(plan: Document, releases: Sequence[Document]) -> Tree:
    spent = sum(release["epsilon"] for release in releases)
    tree = Tree(Text(f"SELECT {plan['select'] + 1}   epsilon {spent:.6g}", style="bold"), guide_style="dim")
    for clause in plan.get("after_noise") or ():
        tree.add(Text.assemble(clause, ("   on noisy values, free", "dim")))
    for release in releases:
        tree.add(_release(release))
    grouped = tree.add(Text(plan["operator"]))
    _add_operator(grouped, plan["input"])
    return tree


def _release(release: Document) -> Text:
    text = Text(f"{release['column']}   ")
    text.append(" ".join([release["aggregate"], *_cells(release)]))
    text.append(f"   {_noise(release)}   epsilon {release['epsilon']:.6g}")
    if "expected" in release:
        error = release["relative_error"]
        shown = "not public: it depends on a noisy count or a choice" if error is None else f"{100 * error:.3g} %"
        text.append(f"   error at {release['expected']:.6g}: {shown}")
    text.append("".join(f"\n  {line}" for line in _why(release)), style="dim")
    return text


def _cells(release: Document) -> list[str]:
    return [f"({release['cells']} groups)"] if release["cells"] != 1 else []


def _noise(release: Document) -> str:
    mechanisms = release["mechanisms"]
    if all(mechanism["kind"] == "public" for mechanism in mechanisms):
        return "public, no noise"
    if release.get("interval95") is not None:
        return f"noise ±{release['interval95']:.4g} (95 %)"
    if mechanisms[0]["kind"] == "choice":
        return f"chosen with scale {mechanisms[0]['noise_scale']:.4g}"
    parts = ", ".join(f"{mechanism['of']} ±{mechanism['interval95']:.4g}" for mechanism in mechanisms)
    return f"noise {parts} (95 %)"


def _why(release: Document) -> Iterator[str]:
    """Where the noise comes from."""
    if all(mechanism["kind"] == "public" for mechanism in release["mechanisms"]):
        return
    delta = ", ".join(f"{mechanism['sensitivity']:.6g}" for mechanism in release["mechanisms"])
    yield f"{release['method']}; sensitivity {delta}{_between(release.get('range'), ', argument in ')}"
    for source in release["sources"]:
        cap = "" if source["cap"] is None else f", at most {source['cap']:.6g} a segment"
        times = f" in each of {source['segments']} segments" if source["segments"] > 1 else ""
        yield (
            f"{source['table']}: {source['influence']:.6g} a slot{cap}; one event touches "
            f"{_count(source['touched_per_segment'], 'slot')}{times}, "
            f"of {_count(source['chunks'], 'chunk')} from {isoformat(source['begin_us'])}"
        )


def _add_operator(above: Tree, node: Document) -> None:
    text = Text(node["operator"])
    influence = "; ".join(_influence(table, moved) for table, moved in node["influence"].items())
    size = "" if node["size"] is None else f"   exactly {node['size']} rows"
    text.append(f"\n  {influence}{size}   ({node['rule']})", style="dim")
    known = [column for column in map(_column, node["columns"]) if column]
    if known:
        text.append(f"\n  {'; '.join(known)}", style="dim")
    here = above.add(text)
    if node.get("source"):
        here.add(_split(node["source"]))
    for part in node["inputs"]:
        _add_operator(here, part)


def _influence(table: str, moved: Mapping[str, int]) -> str:
    """r and R, and net where it is less than r."""
    net = f", net {moved['net']}" if moved["net"] != moved["r"] else ""
    return f"{table}: r {moved['r']}, R {moved['R']}{net}"


def _column(column: Document) -> str:
    """What is known of a column; nothing if nothing is."""
    bounds = _between(column["range"], " in ")
    trusted = " trusted" if column["trusted_for"] else ""
    nullable = " or NULL" if column["nullable"] else ""
    return f"{column['name']}{trusted}{bounds}{nullable}" if bounds or trusted or nullable else ""


def _between(bounds: Sequence[float] | None, before: str) -> str:
    return "" if bounds is None else f"{before}[{bounds[0]:.6g}, {bounds[1]:.6g}]"


def _split(source: Document) -> Text:
    written = source["written_us"]
    gap = source["period_us"] - source["chunk_us"]
    parts = [
        f"SPLIT {source['camera']} {isoformat(source['begin_us'])} .. {isoformat(source['end_us'])}",
        f"by {plain_duration(source['chunk_us'])}" + (f", stride {plain_duration(gap)}" if gap else ""),
        *([] if source["mask"] == "none" else [f"mask {source['mask']}"]),
        *([] if source["region"] is None else [f"by region {source['region']}"]),
    ]
    text = Text("  ".join(parts))
    touched = _count(source["touched_per_segment"], "slot")
    notes = [f"rho {plain_duration(source['segment_us'])}: at most {touched} a segment"]
    notes.append(f"{_count(source['segments'], 'segment')} an event")
    if written is not None:
        notes.append(f"narrowed by WHERE from {isoformat(written[0])} .. {isoformat(written[1])}")
    text.append(f"\n  {', '.join(notes)}", style="dim")
    return text


def _print_standing(console: Console, standing: Document) -> None:
    """The windows of a query with EVERY, and what each is charged by itself."""
    windows = standing["windows"]
    span = f"{isoformat(standing['begin_us'])} .. {isoformat(standing['end_us'])}"
    console.print(Text(f"{len(windows)} windows of {plain_duration(standing['every_us'])}: {span}"))
    each: dict[str, list[float]] = {}
    for window in windows:
        for charge in window["charges"]:
            each.setdefault(charge["camera"], []).append(charge["epsilon"])
    for camera, charges in each.items():
        least, most = min(charges), max(charges)
        amount = f"{most:.6g}" if least == most else f"{least:.6g} to {most:.6g}"
        console.print(Text(f"  each window: {camera} {amount}; together at no moment more than the charge above"))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _print_charge(console: Console, charge: Document) -> None:
    steps = charge["profile"]
    if not steps:
        console.print(Text(f"charge: {charge['camera']} nothing"))
        return
    begin, end = steps[0][0], steps[-1][1]
    console.print(
        Text.assemble(
            f"charge: {charge['camera']} {charge['epsilon']:.6g} at most   ",
            (profile_bars(steps), "green"),
            f"   {_moment(begin)} .. {_moment(end)}",
        )
    )


def _moment(moment_us: int) -> str:
    """To the second, which is closer than any bar."""
    return isoformat(moment_us // SECOND * SECOND)


def profile_bars(steps: Sequence[Sequence[int]], width: int = _WIDTH) -> str:
    """`width` characters over a charge profile: the most that is charged in each part, against its maximum."""
    begin, end = steps[0][0], steps[-1][1]
    most = [0] * width
    for from_us, to_us, value in steps:
        first, last = ((moment - begin) * width // (end - begin) for moment in (from_us, to_us - 1))
        for column in range(first, last + 1):
            most[column] = max(most[column], value)
    return "".join(" " if value == 0 else _BARS[(value * len(_BARS) - 1) // max(most)] for value in most)
