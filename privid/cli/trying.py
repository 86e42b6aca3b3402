"""`privid init`, `privid try` and `privid run-local`: an executable on the analyst's own video, at no budget."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from privid.cli import bundles, offline, published
from privid.cli.config import analyst_target
from privid.cli.terminal import (
    FailureError,
    InputError,
    Json,
    about,
    cells,
    print_json,
    read_text,
    stderr,
    stdout,
    table,
)
from privid.client import Client
from privid.domain.units import SECOND

if TYPE_CHECKING:
    from privid.trial.footage import Footage, Published
    from privid.trial.runs import Attempt
    from query_lang.logical import Process

_LOGS, _LOG_LINES = 3, 40
"""So many different logs are shown, so many lines of each, those of failed chunks first; all of it is in the JSON."""
_CHUNKS_NAMED = 5

Query = Annotated[
    Path, typer.Argument(metavar="QUERY.sql", help="The query, or a folder with one query and its executable.")
]
Video = Annotated[
    Path | None, typer.Option("--video", metavar="FILE", help="Video of your own, taken as if from BEGIN on.")
]
Sample = Annotated[
    str | None, typer.Option("--sample", metavar="CAMERA", help="Instead: the clip that the camera's owner shows.")
]
Policy = Annotated[
    Path | None,
    typer.Option("--policy", metavar="POLICY.toml", help="The owner's policy file, with its masks and regions."),
]
Named = Annotated[
    list[str] | None, typer.Option("--executable", metavar="NAME=PATH", help="Where NAME in USING is. May be repeated.")
]

Model = Annotated[
    Path | None, typer.Option("--model", metavar="FILE", help="The file of WITH MODEL, if not beside the query.")
]


class Given(NamedTuple):
    """Where video and policy are, as the command line says."""

    video: Path | None
    sample: str | None
    policy: Path | None


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder; its name becomes the detector's.")],
    camera: Annotated[str, typer.Option(help="The camera to ask about.")] = "plaza",
    json: Json = False,
) -> None:
    """Make a detector to start from, with its query and its test.

    \b
    $ privid init people-counter
    """
    from privid.trial.starter import write_starter

    try:
        files = write_starter(folder, camera)
    except FileExistsError:
        raise InputError("exists", f"{folder} is already there", "choose another name") from None
    except ValueError as error:
        raise InputError("usage", str(error), "such as people-counter") from None
    except OSError as error:
        raise InputError("unwritable", f"cannot make {folder}: {error.strerror}", "check the path") from None
    if json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        stdout().print(f"made {file}", markup=False)
    stdout().print(f"try it on video of your own: privid try {folder} --video FILE", markup=False)


def try_command(
    query: Query,
    video: Video = None,
    sample: Sample = None,
    policy: Policy = None,
    executable: Named = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Run a query's executables in the sandbox on video of your own or an owner's sample: rows, times and logs.

    Costs no budget, and runs on this machine. Masks and regions are the policy file's, or the sample's camera's.

    \b
    $ privid try people-counter --sample plaza
    """
    _run(query, Given(video, sample, policy), executable or [], model, json, sandbox=True)


def run_local(
    query: Query,
    video: Video = None,
    sample: Sample = None,
    policy: Policy = None,
    executable: Named = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Run a query's executables like `privid try`, but without the sandbox, in this process: for a debugger.

    The rows are those of the sandbox. Nothing limits what the executable does or how long: run only what you trust.

    \b
    $ privid run-local people-counter --video plaza.mp4
    """
    _run(query, Given(video, sample, policy), executable or [], model, json, sandbox=False)


@contextmanager
def clip(given: Given, text: str, name: str) -> "Iterator[tuple[Path, Published]]":
    """The video to try a query on, a file or a camera's sample, for as long as the context lasts.

    With it what is published: by the policy file or, without one, of the sample's camera. `name` is that of the file
    with the query's `text`.
    """
    from privid.trial.footage import Published
    from privid.trial.script import shown_names

    video, sample, policy = given
    if (video is None) == (sample is None):
        raise InputError("usage", "one video is needed", "give --video FILE, or --sample CAMERA")
    with about(text, name):
        names = shown_names(text)
    known = Published() if policy is None else published.of_file(offline.load_policy_file(policy), policy, names)
    if video is not None:
        yield video, known
        return
    assert sample is not None
    with Client(analyst_target()) as client:
        content = client.sample(sample)
        if policy is None:
            known = published.of_camera(client, sample, names)
    with tempfile.TemporaryDirectory(prefix="privid-sample-") as folder:
        path = Path(folder) / f"{sample}-sample.mp4"
        path.write_bytes(content)
        yield path, known


def _run(query: Path, given: Given, named: list[str], model: Path | None, json: bool, *, sandbox: bool) -> None:
    from privid.trial import runs
    from privid.trial.footage import footage
    from privid.trial.script import processes

    query = bundles.query_file(query)
    text = read_text(query, "the query")
    document: list[dict[str, Any]] = []
    with clip(given, text, query.name) as (video, known), errors(), footage(video, known) as film:
        with about(text, query.name):
            wanted = processes(text, film.width, film.height, offline.cameras(known.policies))
        sources, graphs = executables(wanted, query, named), models(wanted, query, model)
        for process in wanted:
            chunks = film.chunks(process.split)
            if not chunks:
                raise InputError(
                    "video", f"{video} is shorter than one chunk of {process.split.name}", "choose a longer video"
                )
            check_views(film, process)
            attempts: list[runs.Attempt] = []
            with progress() as bar:
                task = bar.add_task(process.name, total=len(chunks) * len(film.regions(process.split)))

                def report(attempt: runs.Attempt, done: list[runs.Attempt] = attempts, shown: Any = task) -> None:
                    done.append(attempt)
                    bar.update(shown, completed=len(done))

                run = runs.sandboxed if sandbox else runs.plain
                run(process, sources[process.executable], film, chunks, report, graphs.get(process.model or ""))
            document.append(_json(process, attempts))
            if not json:
                _print(process, attempts, video)
    if json:
        print_json({"tables": document})


def check_views(film: "Footage", process: "Process") -> None:
    """Say which masks are not applied, as nobody told what they hide. Raises what `Footage.check` raises."""
    film.check(process.split)
    if unknown := film.unknown_masks(process.split):
        stderr().print(
            f"{process.split.name}: not applied, as nothing says what is hidden: MASK {', '.join(unknown)} "
            "(see --policy, --sample)",
            markup=False,
        )


def executables(wanted: "tuple[Process, ...]", query: Path, named: list[str]) -> dict[str, bytes]:
    """The executables that a query names: given ones, else those beside the query."""
    given = bundles.named(named)
    sources = {}
    for name in {process.executable for process in wanted}:
        path = given.get(name) or bundles.beside(query, name)
        sources[name] = bundles.runnable(path, f"say where it is: --executable {name}=PATH")
    return sources


def models(wanted: "tuple[Process, ...]", query: Path, given: Path | None) -> dict[str, bytes]:
    """The models that a query names: the given one, else those beside the query."""
    from workers.inference.runtime import NotAModel
    from workers.inference.runtimes import of_name

    found = {}
    for name in {process.model for process in wanted if process.model is not None}:
        path = given or query.parent / name
        try:
            found[name] = path.read_bytes()
            if (runtime := of_name(name)) is not None:  # the language has seen to that
                runtime.check(found[name])
        except OSError as error:
            raise InputError(
                "unreadable", f"cannot read {path}: {error.strerror}", "say where the model is: --model FILE"
            ) from None
        except NotAModel as error:
            raise InputError("bad_model", f"{path} cannot be a model: {error}", "mend it and try again") from None
    return found


def _json(process: "Process", attempts: "list[Attempt]") -> dict[str, Any]:
    names = [column.name for column in process.schema]
    return {
        "table": process.name,
        "executable": process.executable,
        "chunks": [
            {
                "index": attempt.chunk.index,
                "begin_us": attempt.chunk.begin_us,
                **({"region": attempt.region} if attempt.region else {}),
                "frames": attempt.frames,
                "rows": [dict(zip(names, row, strict=True)) for row in attempt.rows],
                "took_ms": round(attempt.took_ms, 3),
                "fault": attempt.fault,
                "log": attempt.log,
            }
            for attempt in attempts
        ],
    }


def _print(process: "Process", attempts: "list[Attempt]", video: Path) -> None:
    out = stdout()
    out.print(f"{process.name}: {process.executable} on {video.name}", style="bold", markup=False)
    names = [column.name for column in process.schema]
    regions = () if process.split.region is None else ("REGION",)
    numbers = ("CHUNK", "FROM", "FRAMES", "MS")
    listing = table("CHUNK", "FROM", *regions, "FRAMES", "MS", *names, "", right=numbers)
    for attempt in attempts:
        since = (attempt.chunk.begin_us - process.split.begin_us) / SECOND
        place = (attempt.region,) if regions else ()
        start = (attempt.chunk.index, f"{since:g} s", *place, attempt.frames, f"{attempt.took_ms:.1f}")
        rows = attempt.rows or ((("no rows",) + ("",) * (len(names) - 1)),)
        for number, row in enumerate(rows):
            head = start if number == 0 else ("",) * len(start)
            note = f"{attempt.fault}: default row" if attempt.fault and number == 0 else ""
            listing.add_row(*cells(*head, *(_value(value) for value in row), note))
    out.print(listing)
    _print_logs([attempt for attempt in attempts if attempt.log.strip()])
    times = [attempt.took_ms for attempt in attempts]
    faults = sum(attempt.fault is not None for attempt in attempts)
    out.print(
        f"{len(attempts)} {'runs' if regions else 'chunks'}, {statistics.median(times):.1f} ms each, "
        f"the longest {max(times):.1f} ms of TIMEOUT {process.timeout_us / 1000:g} ms; {faults or 'none'} failed",
        markup=False,
    )


def _print_logs(printed: "list[Attempt]") -> None:
    same: dict[str, list[Attempt]] = {}
    for attempt in sorted(printed, key=lambda attempt: (attempt.fault is None, attempt.chunk.index)):
        same.setdefault(attempt.log.rstrip(), []).append(attempt)
    for log, attempts in list(same.items())[:_LOGS]:
        names = [f"{attempt.chunk.index}{attempt.region and f' ({attempt.region})'}" for attempt in attempts]
        more = f" and {len(names) - _CHUNKS_NAMED} more" if names[_CHUNKS_NAMED:] else ""
        stdout().print(
            f"chunk{'s' if names[1:] else ''} {', '.join(names[:_CHUNKS_NAMED])}{more} printed:", markup=False
        )
        lines = log.splitlines()
        rest = [f"... {len(lines) - _LOG_LINES} more lines"] if lines[_LOG_LINES:] else []
        stdout().print("\n".join(f"  {line}" for line in [*lines[:_LOG_LINES], *rest]), markup=False)
    if left := sum(map(len, list(same.values())[_LOGS:])):
        stdout().print(f"{left} more chunks printed something else: --json has all of it", markup=False)


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on standard error, if that is a terminal."""
    console = stderr()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        yield bar


@contextmanager
def errors() -> Iterator[None]:
    """Say what can go wrong in the words of the command line."""
    from privid.engine.errors import CannotEnforce
    from privid.ingest.errors import BadVideoFile
    from privid.trial.footage import OtherSize
    from privid.video.errors import StoreFailure, VideoError
    from workers.guest.weights import WeightsError
    from workers.host.errors import ExecutableRefused, SandboxError
    from workers.inference.runtime import NotAModel, RuntimeMissing

    try:
        yield
    except (BadVideoFile, VideoError) as error:
        raise InputError("video", str(error), "choose another video file") from None
    except OtherSize as error:
        raise InputError("video", str(error), "scale the video to that size, or choose another one") from None
    except CannotEnforce as error:
        raise InputError(error.code, error.message, "--sample CAMERA has its masks and regions, too") from None
    except (ExecutableRefused, WeightsError) as error:
        raise InputError("bad_executable", f"it cannot be run: {error}", "mend its manifest or its weights") from None
    except (NotAModel, RuntimeMissing) as error:
        raise InputError(
            "bad_model", f"the model cannot be run: {error}", "mend it, or install what it needs"
        ) from None
    except SandboxError as error:
        raise FailureError("sandbox", str(error), "privid run-local needs no sandbox") from None
    except (StoreFailure, OSError) as error:
        raise FailureError("store", str(error), "nothing is left behind; try again") from None
