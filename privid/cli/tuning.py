"""`privid tune`: the best chunk length, rows and range for a query, from video of the analyst's own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privid.cli import bundles, trying
from privid.cli.terminal import InputError, Json, about, cells, check_writable, print_json, read_text, stdout, table
from privid.domain.units import SECOND

if TYPE_CHECKING:
    from privid.trial.footage import Footage
    from privid.trial.runs import Attempt
    from privid.trial.tuning import Outcome, Question

_LENGTHS = (1, 2, 5, 10, 20, 30, 60)
_WHOLE_BYTES = 1 << 30
"""The video is looked at in one piece, too, unless its frames take more memory than this."""
_TIMEOUT_US = 300 * SECOND
_SHOWN = 12


def tune(
    query: trying.Query,
    video: trying.Video = None,
    sample: trying.Sample = None,
    policy: trying.Policy = None,
    chunks: Annotated[
        str | None, typer.Option(metavar="SECONDS,...", help="Chunk lengths to try, such as 1,2,5,10.")
    ] = None,
    truth: Annotated[
        float | None, typer.Option(help="The true answer for this video; by default, what the longest chunks say.")
    ] = None,
    executable: trying.Named = None,
    model: trying.Model = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw the errors into this file.")] = None,
    json: Json = False,
) -> None:
    """Find the chunk length, rows and range with the least error: what chunking costs the detector, plus the noise.

    The executable runs in the sandbox on that video, once for each chunk length; no budget is spent.

    The noise follows from the policy file or, without one, from the policy of the sample's camera.

    \b
    $ privid tune people-counter --video plaza.mp4 --policy policy.toml --plot tune.png
    """
    from privid.cli import offline
    from privid.domain.units import nano_epsilon
    from privid.trial.footage import footage
    from privid.trial.tuning import Question, Unsuitable, outcomes
    from query_lang import compile_script
    from query_lang.schema import Catalog

    check_writable(plot)
    query = bundles.query_file(query)
    text = read_text(query, "the query")
    if policy is None and sample is None:
        raise InputError("usage", "noise follows from a policy", "give --policy POLICY.toml, or --sample CAMERA")
    default = int(nano_epsilon("1")) if policy is None else offline.load_policy_file(policy).default_epsilon_nano
    lengths = _lengths(chunks)
    try:
        with (
            trying.clip(trying.Given(video, sample, policy), text, query.name) as (path, known),
            trying.errors(),
            footage(path, known) as film,
        ):
            with about(text, query.name):
                script = compile_script(text, Catalog(cameras=offline.cameras(known.policies), executables=None))
            question = Question(script, known.policies, default)
            trying.check_views(film, question.process)
            source = trying.executables(script.processes, query, executable or [])[question.process.executable]
            graphs = trying.models(script.processes, query, model)
            attempts = _run(question, source, graphs.get(question.process.model or ""), film, lengths)
            with about(text, query.name):
                truth, found = outcomes(question, attempts, truth)
    except Unsuitable as error:
        raise InputError("unsuitable", str(error), "see privid tune --help") from None
    if plot is not None:
        from privid.cli.plots import save_tuning

        save_tuning(found, f"best: {_named(found[0])}; expected error {found[0].error:.3g}", plot)
    if json:
        print_json({"truth": truth, "best": _json(found[0]), "settings": [_json(outcome) for outcome in found]})
    else:
        _print(truth, found)


def _lengths(written: str | None) -> tuple[int, ...] | None:
    if written is None:
        return None
    try:
        lengths = tuple(sorted({round(float(part) * SECOND) for part in written.split(",")}))
    except ValueError:
        lengths = ()
    if not lengths or lengths[0] <= 0:
        raise InputError("usage", f"--chunks {written}: not lengths in seconds", "such as 1,2,5,10")
    return lengths


def _run(
    question: "Question", source: bytes, model: bytes | None, film: "Footage", lengths: tuple[int, ...] | None
) -> "dict[int, list[Attempt]]":
    """The executable on the video at every chunk length that fits."""
    from privid.trial.runs import Attempt, sandboxed

    process = question.process
    if lengths is None:
        lengths = tuple(sorted({process.split.chunk_us, *(length * SECOND for length in _LENGTHS)}))
        lengths = (*(length for length in lengths if 2 * length <= film.length_us), *_whole(question, film))
    attempts: dict[int, list[Attempt]] = {}
    for length in lengths:
        # A chunk may take as long as it wants here: TIMEOUT follows from what is measured.
        tried = replace(process, split=replace(process.split, chunk_us=length), timeout_us=_TIMEOUT_US)
        chunks = film.chunks(tried.split)
        if not chunks:
            continue
        done: list[Attempt] = []
        with trying.progress() as bar:
            task = bar.add_task(f"{length / SECOND:g} s", total=len(chunks))

            def report(attempt: Attempt, found: list[Attempt] = done, shown: Any = task) -> None:
                found.append(attempt)
                bar.update(shown, completed=len(found))

            sandboxed(tried, source, film, chunks, report, model)
        attempts[length] = sorted(done, key=lambda attempt: attempt.chunk.index)
    if not attempts:
        raise InputError("video", "the video is shorter than every chunk length", "choose a longer video")
    return attempts


def _whole(question: "Question", film: "Footage") -> tuple[int, ...]:
    split = question.process.split
    width, height = split.resize or (film.width, film.height)
    frames = film.length_us / SECOND * float(split.fps or film.fps)
    length = min(film.length_us, split.end_us - split.begin_us)
    return (length,) if frames * width * height * 3 <= _WHOLE_BYTES else ()


def _json(outcome: "Outcome") -> dict[str, Any]:
    setting = outcome.setting
    return {
        "chunk_s": setting.chunk_us / SECOND,
        "rows": setting.rows,
        "range": setting.range,
        "answer": outcome.answer,
        "bias": outcome.bias,
        "noise_scale": outcome.noise,
        "expected_error": outcome.error,
        "longest_ms": round(outcome.longest_ms, 3),
    }


def _print(truth: float, found: "Sequence[Outcome]") -> None:
    out = stdout()
    out.print(f"truth taken as {truth:.6g}; errors are expected, of the whole window at this epsilon", markup=False)
    listing = table("CHUNK", "ROWS", "RANGE", "ANSWER", "BIAS", "NOISE", "ERROR", "LONGEST", right=("ROWS", "ERROR"))
    best: dict[int, Outcome] = {}
    for outcome in found:
        best.setdefault(outcome.setting.chunk_us, outcome)
    shown = sorted({*found[:_SHOWN], *best.values()}, key=lambda outcome: outcome.error)
    for outcome in shown:
        setting = outcome.setting
        listing.add_row(
            *cells(
                f"{setting.chunk_us / SECOND:g} s",
                setting.rows,
                "-" if setting.range is None else f"{setting.range[0]:g} .. {setting.range[1]:g}",
                f"{outcome.answer:.4g}",
                f"{outcome.bias:+.3g}",
                f"±{outcome.noise:.3g}",
                f"{outcome.error:.3g}",
                f"{outcome.longest_ms:.0f} ms",
            )
        )
    out.print(listing)
    out.print(
        f"best: {_named(found[0])}; expected error {found[0].error:.3g}. "
        f"TIMEOUT has to be more than {found[0].longest_ms:.0f} ms.",
        markup=False,
    )
    if len(found) > len(shown):
        out.print(f"{len(found) - len(shown)} more settings: --json has all of them", markup=False)


def _named(outcome: "Outcome") -> str:
    """A setting as queries write it."""
    setting = outcome.setting
    bounds = "" if setting.range is None else f", RANGE {setting.range[0]:g} to {setting.range[1]:g}"
    rows = f"{setting.rows} row{'s' if setting.rows > 1 else ''}"
    return f"BY TIME {setting.chunk_us / SECOND:g} sec, {rows} a chunk{bounds}"
