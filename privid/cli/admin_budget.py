"""`privid-admin budget`: what is left of the budgets, and how long it lasts."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from privid.cli.config import owner_target
from privid.cli.terminal import (
    SETTINGS,
    InputError,
    Json,
    about,
    check_writable,
    epsilon_nano,
    epsilon_text,
    print_json,
    read_text,
    stderr,
    stdout,
)
from privid.client import OwnerClient
from privid.client.values import ForecastFacts, QueryForecast
from privid.domain.units import epsilon as epsilon_value
from privid.domain.units import isoformat
from privid.owner import forecast as words
from privid.owner.budget_plot import BudgetCurve, bars, save_picture
from query_lang.units import parse_moment

app = typer.Typer(help="What is left of the budgets, and how long it lasts.", **SETTINGS)

CameraName = Annotated[str, typer.Argument(metavar="CAMERA", help="The camera's name.")]
Png = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw it into this file as well.")]


From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="By default all that is recorded.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="By default all that is recorded.")]


@app.command(name="show")
def budget_show(
    camera: CameraName,
    from_: From = None,
    to: To = None,
    png: Png = None,
    json: Json = False,
) -> None:
    """Show what is left of a camera's budget over time.

    \b
    $ privid-admin budget show plaza --png budget.png
    """
    check_writable(png)
    with OwnerClient(owner_target()) as client:
        curve = _curve(client, camera, from_, to)
    if json:
        steps = [
            {"from_us": begin, "to_us": end, "left": epsilon_value(left), "spent": epsilon_value(whole - left)}
            for whole in (curve.epsilon_nano,)
            for begin, end, left in curve.left()
        ]
        print_json(
            {
                "camera": curve.camera,
                "epsilon": epsilon_value(curve.epsilon_nano),
                "from_us": curve.from_us,
                "to_us": curve.to_us,
                "left_min": epsilon_value(curve.least_left_nano),
                "left_max": epsilon_value(curve.most_left_nano),
                "steps": steps,
            }
        )
    else:
        _print_curve(curve)
    if png is not None:
        _draw([curve], png)
        stderr().print(f"drawn in {png}", markup=False)


@app.command(name="plot")
def budget_plot(
    cameras: Annotated[list[str], typer.Argument(metavar="CAMERA...", help="One camera, or several to compare.")],
    png: Annotated[Path, typer.Option("--png", metavar="FILE", help="The picture.")] = Path("budget.png"),
    from_: From = None,
    to: To = None,
    json: Json = False,
) -> None:
    """Draw what is left of several cameras' budgets over time into one picture.

    \b
    $ privid-admin budget plot plaza bridge --png budgets.png
    """
    check_writable(png)
    with OwnerClient(owner_target()) as client:
        curves = [_curve(client, camera, from_, to) for camera in cameras]
    _draw(curves, png)
    if json:
        print_json({"cameras": [curve.camera for curve in curves], "png": str(png)})
    else:
        stdout().print(f"drawn in {png}", markup=False)


def _curve(client: OwnerClient, camera: str, from_: str | None, to: str | None) -> BudgetCurve:
    zone = next((found.timezone for found in client.cameras() if found.name == camera), "UTC")
    budget = client.budget(camera, moment("--from", from_, zone), moment("--to", to, zone))
    return BudgetCurve(budget.camera, budget.epsilon_nano, budget.from_us, budget.to_us, budget.steps)


def _draw(curves: list[BudgetCurve], png: Path) -> None:
    try:
        save_picture(curves, png)
    except OSError as error:
        raise InputError("unwritable", f"cannot write {png}: {error.strerror}", "choose another file") from None


@app.command(name="forecast")
def budget_forecast(
    camera: CameraName,
    query: Annotated[
        Path | None, typer.Option(metavar="QUERY.sql", help="Count this query instead of the typical ones.")
    ] = None,
    epsilon: Annotated[
        str | None, typer.Option(metavar="E", help="Epsilon of a SELECT of that query without CONSUMING.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="History to look at.")] = 30,
    png: Png = None,
    json: Json = False,
) -> None:
    """Tell how many more such queries fit, and when moments run out at the rate of the last days, with the reasons.

    \b
    $ privid-admin budget forecast plaza
    $ privid-admin budget forecast plaza --query people.sql --png forecast.png
    """
    check_writable(png)
    if epsilon is not None and query is None:
        raise InputError("usage", "--epsilon is for --query", "give the query too")
    text = "" if query is None else read_text(query, "the query")
    default = None if epsilon is None else epsilon_nano("--epsilon", epsilon)
    name = "" if query is None else query.name
    with OwnerClient(owner_target()) as client, about(text, name):
        facts = client.forecast(camera, days, text, default)
    found = words.forecast(facts.peaks_nano, facts.steps, facts.since_us, facts.now_us)
    if json:
        print_json(_forecast_json(facts, found))
    else:
        _print_forecast(facts, found, name)
    if png is not None:
        _draw_forecast(facts, found, name, png)


def _print_curve(curve: BudgetCurve) -> None:
    console = stdout()
    width = min(100, max(20, shutil.get_terminal_size().columns - 4))
    console.print(
        Text(
            f"{curve.camera}: budget {epsilon_text(curve.epsilon_nano)}, left "
            f"{epsilon_text(curve.least_left_nano)} .. {epsilon_text(curve.most_left_nano)}"
        )
    )
    console.print(Text(f"  {bars(curve, width)}", style="green"))
    begin, end = isoformat(curve.from_us), isoformat(curve.to_us)
    console.print(Text(f"  {begin}{' ' * max(1, width - len(begin) - len(end))}{end}", style="dim"))


def _print_forecast(facts: ForecastFacts, found: words.Forecast, name: str) -> None:
    steps = tuple((step.from_us, step.to_us, facts.epsilon_nano - step.left_nano) for step in facts.steps)
    _print_curve(BudgetCurve(facts.camera, facts.epsilon_nano, *facts.recorded, steps))
    console = stdout()
    if facts.query is not None:
        console.print(Text(f"  {name} {_query_sentence(facts.query)}"))
    for sentence in words.sentences(found, facts.now_us):
        console.print(Text(f"  {sentence}"))


def _query_sentence(query: QueryForecast) -> str:
    begin, end = map(isoformat, query.window)
    where = min(query.refusals, key=lambda refusal: refusal.left_nano)
    short = f"short at {where.camera} {isoformat(where.from_us)} to {isoformat(where.to_us)}"
    said = {0: f"it would not be admitted, {short}", 1: f"it would be admitted once, then it is {short}"}.get(
        query.times, f"it would be admitted {query.times} times, each as another question, then it is {short}"
    )
    return f"takes {epsilon_text(query.epsilon_nano)} of each moment from {begin} to {end}: {said}."


def _forecast_json(facts: ForecastFacts, found: words.Forecast) -> dict[str, Any]:
    such, out, query = found.such, found.runs_out, facts.query
    return {
        "camera": facts.camera,
        "epsilon": epsilon_value(facts.epsilon_nano),
        "from_us": facts.recorded[0],
        "to_us": facts.recorded[1],
        "now_us": facts.now_us,
        "history_from_us": facts.since_us,
        "queries": found.queries,
        "such": None
        if such is None
        else {
            "epsilon": epsilon_value(such.epsilon_nano),
            "times_least": such.least,
            "times_middle": such.middle,
            "times_most": such.most,
            "part_without": such.without,
        },
        "query": None
        if query is None
        else {
            "epsilon": epsilon_value(query.epsilon_nano),
            "from_us": query.window[0],
            "to_us": query.window[1],
            "times": query.times,
            "then_refused": [
                {"camera": r.camera, "from_us": r.from_us, "to_us": r.to_us, "left": epsilon_value(r.left_nano)}
                for r in query.refusals
            ],
        },
        "runs_out": None
        if out is None
        else {
            "first_us": out.first_us,
            "half_us": out.half_us,
            "taken": epsilon_value(out.taken_nano),
            "left": epsilon_value(out.left_nano),
            "part": out.part,
        },
        "why_no_date": found.why_no_date or None,
        "words": list(words.sentences(found, facts.now_us)),
    }


def _draw_forecast(facts: ForecastFacts, found: words.Forecast, name: str, png: Path) -> None:
    from privid.owner.forecast_plot import save_forecast

    if facts.query is not None:
        such_nano, such = facts.query.epsilon_nano, name
    elif found.such is not None:
        such_nano, such = found.such.epsilon_nano, "a typical query"
    else:
        raise InputError("nothing_to_plot", "nothing was asked in that time: there is no typical query", "give --query")
    try:
        save_forecast(facts.camera, facts.epsilon_nano, such_nano, such, facts.steps, png)
    except OSError as error:
        raise InputError("unwritable", f"cannot write {png}: {error.strerror}", "choose another file") from None
    stderr().print(f"drawn in {png}", markup=False)


def moment(option: str, text: str | None, timezone: str) -> int | None:
    """A moment as an option gives it, in microseconds. Raises InputError."""
    if text is None:
        return None
    try:
        return parse_moment(text, timezone)
    except ValueError as error:
        raise InputError("usage", f"{option}: {error}") from None
