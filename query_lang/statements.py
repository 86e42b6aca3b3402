"""SPLIT and PROCESS: from syntax to the plan, every name looked up in the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from sqlglot import exp

from query_lang import logical as lp
from query_lang import nodes, units
from query_lang.constants import constant, data_type
from query_lang.errors import did_you_mean, name_hint
from query_lang.schema import CameraSchema, Catalog, find_name
from query_lang.scope import Source

MAX_CHUNKS: Final = 20_000_000
MAX_WINDOWS: Final = 1_000
MAX_ROWS: Final = 10_000
MAX_COLUMNS: Final = 64
MAX_CALLS: Final = 100_000
MAX_TIMEOUT_US: Final = units.HOUR
TRUSTED_COLUMNS: Final = ("chunk", "camera", "region")

_MODELS: Final = (".onnx", ".pt2")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_SIZE: Final = re.compile(r"\s*([0-9]{1,6})\s*[xX]\s*([0-9]{1,6})\s*", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_RATE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?|\.[0-9]{1,6}", re.ASCII)
_FRAMES: Final = re.compile(r"([0-9]{1,9})\s*frames?", re.ASCII | re.IGNORECASE)


def _is_model(name: str) -> bool:
    """Models and executables are told apart by their names, as their uploads are."""
    return name.casefold().endswith(_MODELS)


class StatementBinder:
    """Binds SPLIT and PROCESS statements against a catalog."""

    def __init__(self, source: Source, catalog: Catalog, horizon_us: int | None, window: int | None) -> None:
        self.source = source
        self.catalog = catalog
        self.horizon_us = horizon_us
        self.window = window
        self.series: tuple[int | None, int] | None = None
        """EVERY and the number of windows of the first SPLIT, which the others share."""

    # --- SPLIT --------------------------------------------------------------------------------------------

    def split(self, node: nodes.Split) -> lp.Split:
        """The plan of a SPLIT. Raises QueryError."""
        camera = self._camera(node.this)
        begin = self._moment(node.args["begin"], camera)
        every = node.args.get("every")
        every_us = None if every is None else self._duration(every, "EVERY", least=1)
        end = self._end(node, camera, begin, every_us)
        at, resize = node.args.get("fps"), node.args.get("resize")
        fps = None if at is None else self._fps(at, camera)
        rate = fps or camera.fps
        chunk_us = self._length(node.args["chunk"], "BY TIME", rate, least=1)
        stride = node.args.get("stride")
        stride_us = 0 if stride is None else self._length(stride, "STRIDE", rate, least=0)
        region = node.args.get("region")
        masks = node.args.get("masks") or []
        split = lp.Split(
            name=node.args["into"].name,
            camera=camera.name,
            timezone=camera.timezone,
            begin_us=begin,
            end_us=end,
            chunk_us=chunk_us,
            stride_us=stride_us,
            region=None if region is None else self._region(region, camera),
            masks=self._masks(masks, camera),
            fps=fps,
            resize=None if resize is None else self._resize(resize, camera),
            every_us=every_us,
        )
        self._check_series(node, split)
        if split.count < 1:
            window = units.format_duration(end - begin)
            raise self.source.error(
                "bad_time",
                f"a chunk is longer than the window of {window}",
                node.args["chunk"],
                "only whole chunks are cut: make BY TIME shorter, or END later",
            )
        if split.count > MAX_CHUNKS:
            raise self.source.error(
                "too_large", f"{split.count:,} chunks", node.args["chunk"], f"cut at most {MAX_CHUNKS:,}"
            )
        return split if self.window is None else split.window(self.window)

    def _end(self, node: nodes.Split, camera: CameraSchema, begin: int, every_us: int | None) -> int:
        """The end of the last window. END NEVER is as far as the horizon."""
        end_node, horizon = node.args["end"], node.args.get("horizon")
        if end_node.name.upper() != "NEVER":
            if horizon is not None:
                raise self.source.error(
                    "standing", "HORIZON is for END NEVER", horizon, "END says already how far budget is reserved"
                )
            end = self._moment(end_node, camera)
            if end <= begin:
                raise self.source.error("bad_time", "END is not after BEGIN", end_node, "the window holds no video")
            return end
        if every_us is None:
            hint = "write END NEVER EVERY 1 hour HORIZON 30 days"
            raise self.source.error("standing", "END NEVER needs EVERY: when is there an answer?", end_node, hint)
        ahead = self.horizon_us if horizon is None else self._duration(horizon, "HORIZON", least=1)
        if ahead is None:
            hint = "add HORIZON 30 days: budget is reserved for the windows up to then"
            raise self.source.error("standing", "END NEVER needs a horizon", end_node, hint)
        if ahead < every_us:
            text = units.format_duration(every_us)
            message = f"the horizon of {units.format_duration(ahead)} is shorter than one window"
            raise self.source.error("standing", message, horizon or end_node, f"make it {text} or longer")
        end = begin + ahead // every_us * every_us
        if end >= units.LAST_MOMENT:
            raise self.source.error("bad_time", "the horizon lies beyond 2199", horizon or end_node)
        return end

    def _check_series(self, node: nodes.Split, split: lp.Split) -> None:
        """Windows are whole and lie on one grid of chunks, so that they share the budget at their marks
        (privacy-model.md, section 5); all SPLITs have as many of them.
        """
        every = node.args.get("every")
        if split.every_us is not None:
            self._check_windows(node, split, split.every_us)
        series = (split.every_us, split.windows)
        if self.series is None:
            self.series = series
        elif series != self.series:
            raise self.source.error(
                "standing",
                "every SPLIT of a query has the same EVERY, and as many windows",
                every or node.args["end"],
                "the first window of the query reads the first window of each, and so on",
            )

    def _check_windows(self, node: nodes.Split, split: lp.Split, every_us: int) -> None:
        every = node.args["every"]
        text, period = units.format_duration(every_us), split.period_us
        if every_us % period:
            fitting = max(1, round(every_us / period)) * period
            raise self.source.error(
                "standing",
                f"{text} is not a whole number of chunks of {units.format_duration(period)}, stride included",
                every,
                f"write EVERY {units.format_duration(fitting)}, or other chunks",
            )
        if rest := (split.end_us - split.begin_us) % every_us:
            before = units.format_moment(split.end_us - rest, split.timezone)
            after = units.format_moment(split.end_us - rest + every_us, split.timezone)
            hint = f"write END {after}" + (f" or {before}" if split.windows else "")
            raise self.source.error("standing", f"END cuts a window of {text} in two", node.args["end"], hint)
        if split.windows > MAX_WINDOWS:
            far = units.format_duration(MAX_WINDOWS * every_us)
            hint = f"reserve at most {MAX_WINDOWS:,}, here {far}; ask again later: windows that are there stay free"
            raise self.source.error("too_large", f"{split.windows:,} windows", every, hint)

    def _camera(self, node: exp.Expr) -> CameraSchema:
        cameras = self.catalog.cameras
        name = find_name(node.name, cameras)
        if name is None:
            hint = name_hint(node.name, cameras, "there is")
            raise self.source.error("unknown_name", f"unknown camera {node.name!r}", node, hint)
        camera = cameras[name]
        try:
            ZoneInfo(camera.timezone)
        except (KeyError, ValueError, OSError):
            message = f"camera {name} is in the unknown timezone {camera.timezone!r}"
            raise self.source.error("unknown_name", message, node, "ask the owner to correct it") from None
        return camera

    def _moment(self, node: exp.Expr, camera: CameraSchema) -> int:
        try:
            return units.parse_moment(node.name, camera.timezone)
        except ValueError as error:
            raise self.source.error("bad_time", str(error), node) from None

    def _length(self, node: exp.Expr, clause: str, rate: Fraction | None, least: int) -> int:
        """A length of video, in microseconds: a duration, or a number of frames at `rate` frames a second.

        Chunks in frames are chunks of time (docs/decisions/0021): what an event touches does not depend on stored
        time stamps, so they can be planned anywhere, and for video that is still to come.
        """
        found = _FRAMES.fullmatch(node.name.strip())
        if found is None:
            return self._duration(node, clause, least)
        if rate is None:
            raise self.source.error(
                "bad_value", "the camera's frame rate is not known", node, "write AT 5 FPS, or the length in time"
            )
        length = Fraction(found[1]) / rate * units.SECOND
        if length.denominator != 1 or length < least:
            near = units.format_duration(max(1, round(length)))
            message = f"{node.name.strip()} at {float(rate):g} a second is no whole number of microseconds"
            raise self.source.error("bad_time", message, node, f"write the length in time, such as {near}")
        return int(length)

    def _duration(self, node: exp.Expr, clause: str, least: int) -> int:
        text = node.name.strip()
        if text.startswith("-"):
            raise self.source.error("bad_time", f"{clause} is never negative", node, "chunks do not overlap")
        if text == "0" and least == 0:
            return 0
        try:
            value = units.parse_duration(text)
        except ValueError as error:
            raise self.source.error("bad_time", str(error), node) from None
        if value < least:
            raise self.source.error("bad_time", f"{clause} {text} is too short", node, "it is at least 1us")
        return value

    def _region(self, node: exp.Expr, camera: CameraSchema) -> str:
        return self._known(node, camera.regions, "region scheme", f"camera {camera.name} has")

    def _masks(self, parts: Iterable[exp.Expr], camera: CameraSchema) -> tuple[str, ...]:
        masks: list[str] = []
        for node in parts:
            mask = self._known(node, camera.masks, "mask", f"camera {camera.name} has")
            if mask in masks:
                raise self.source.error("duplicate_name", f"mask {mask!r} twice", node, "name it once")
            masks.append(mask)
        return tuple(masks)

    def _known(self, node: exp.Expr, known: Iterable[str], what: str, owner: str) -> str:
        names = tuple(known)
        name = find_name(node.name, names)
        if name is None:
            hint = name_hint(node.name, names, owner)
            raise self.source.error("unknown_name", f"unknown {what} {node.name!r}", node, hint)
        return name

    def _fps(self, node: exp.Expr, camera: CameraSchema) -> Fraction:
        if not _RATE.fullmatch(node.name) or Fraction(node.name) == 0:
            raise self.source.error(
                "bad_value", f"{node.name!r} is no number of frames a second", node, "write AT 5 FPS"
            )
        fps = Fraction(node.name)
        if camera.fps is not None and fps > camera.fps:
            hint = f"camera {camera.name} records {float(camera.fps):g}; leave AT out for all of them"
            raise self.source.error("bad_value", f"more frames a second than there are: {node.name}", node, hint)
        return fps

    def _resize(self, node: exp.Expr, camera: CameraSchema) -> tuple[int, int]:
        found = _SIZE.fullmatch(node.name)
        width, height = (int(found[1]), int(found[2])) if found else (0, 0)
        if not width or not height:
            raise self.source.error("bad_value", f"{node.name!r} is no size", node, "write RESIZE 640x360")
        limits = camera.width, camera.height
        if any(limit is not None and size > limit for size, limit in zip((width, height), limits, strict=True)):
            hint = f"camera {camera.name} records {camera.width}x{camera.height}; frames are only made smaller"
            raise self.source.error("bad_value", f"{node.name} is larger than the picture", node, hint)
        return width, height

    # --- PROCESS ------------------------------------------------------------------------------------------

    def process(self, node: nodes.Process, splits: Mapping[str, lp.Split]) -> lp.Process:
        """The plan of a PROCESS; `splits` are those declared above it, by folded name. Raises QueryError."""
        split = splits.get(node.this.name.casefold())
        if split is None:
            hint = name_hint(node.this.name, [s.name for s in splits.values()], "SPLITs above make")
            raise self.source.error("unknown_name", f"unknown chunks {node.this.name!r}", node.this, hint)
        executable = node.args["using"].name
        model, calls = node.args.get("model"), node.args.get("calls")
        if _is_model(executable):
            hint = f"write USING 'logic.py' WITH MODEL '{executable}'"
            raise self.source.error(
                "bad_value", f"{executable!r} is a model, not an executable", node.args["using"], hint
            )
        if model is not None and not _is_model(model.name):
            raise self.source.error(
                "bad_value",
                f"{model.name!r} is no model",
                model,
                "a model is an ONNX file, such as 'people.onnx', or one of torch.export, such as 'people.pt2'",
            )
        timeout = self._duration(node.args["timeout"], "TIMEOUT", least=1)
        if timeout > MAX_TIMEOUT_US:
            raise self.source.error(
                "bad_time", "TIMEOUT is for one chunk", node.args["timeout"], "it is at most 1 hour"
            )
        return lp.Process(
            name=node.args["into"].name,
            split=split,
            executable=executable,
            sha256=self._sha256(node.args["using"], executable),
            model=None if model is None else model.name,
            timeout_us=timeout,
            max_rows=self._rows(node.args["rows"]),
            exact=bool(node.args.get("exact")),
            schema=self._schema(node.expressions),
            model_sha256=None if model is None else self._sha256(model, model.name),
            calls=None if calls is None else self._calls(calls),
        )

    def _sha256(self, node: exp.Expr, name: str) -> str | None:
        executables = self.catalog.executables
        kind = "model" if _is_model(name) else "executable"
        if not name:
            raise self.source.error("syntax", "expected the name of an executable", node, "write USING 'people.py'")
        if executables is None:
            return None
        if name not in executables:
            guess = did_you_mean(name, [other for other in executables if _is_model(other) == _is_model(name)])
            hint = guess or "upload it first"
            raise self.source.error("unknown_name", f"unknown {kind} {name!r}", node, hint)
        return executables[name]

    def _calls(self, node: exp.Expr) -> int:
        calls = int(node.name) if _COUNT.fullmatch(node.name) else 0
        if not 1 <= calls <= MAX_CALLS:
            hint = f"a chunk makes 1 to {MAX_CALLS:,} calls"
            raise self.source.error("bad_value", f"{node.name!r} is no number of calls", node, hint)
        return calls

    def _rows(self, node: exp.Expr) -> int:
        rows = int(node.name) if _COUNT.fullmatch(node.name) else 0
        if not 1 <= rows <= MAX_ROWS:
            raise self.source.error(
                "bad_value", f"{node.name!r} is no number of rows", node, f"a chunk produces 1 to {MAX_ROWS:,} rows"
            )
        return rows

    def _schema(self, parts: list[nodes.SchemaColumn]) -> tuple[lp.SchemaColumn, ...]:
        if len(parts) > MAX_COLUMNS:
            hint = f"a schema has at most {MAX_COLUMNS}"
            raise self.source.error("too_large", f"{len(parts)} columns", parts[MAX_COLUMNS], hint)
        columns: dict[str, lp.SchemaColumn] = {}
        for part in parts:
            name, folded = part.name, part.name.casefold()
            if not _IDENTIFIER.fullmatch(name):
                hint = "letters, digits and _, at most 63"
                raise self.source.error("bad_value", f"{name!r} cannot name a column", part.this, hint)
            if folded in TRUSTED_COLUMNS:
                message = f"column {name!r} is filled by the system"
                raise self.source.error("duplicate_name", message, part.this, "choose another name")
            if folded in columns:
                message = f"column {name!r} is declared twice (case does not matter)"
                raise self.source.error("duplicate_name", message, part.this, "choose another name")
            kind = data_type(self.source, part.args["kind"], strict=True)
            node = part.args["default"]
            default = constant(self.source, node, None)
            if default.type is not kind:
                example = {"STRING": '""', "NUMBER": "0", "BOOLEAN": "FALSE"}[kind.value]
                message = f"the default of {name} is a {default.type.value}, the column a {kind.value}"
                raise self.source.error("type", message, node, f"write {name}:{kind.value}={example}")
            assert isinstance(default.value, (str, bool, Fraction))
            columns[folded] = lp.SchemaColumn(name, kind, default.value)
        return tuple(columns.values())
