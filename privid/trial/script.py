"""A query that is tried out: its PROCESS statements, planned as if every camera had recorded one video file."""

from collections.abc import Mapping
from dataclasses import replace

from query_lang import QueryError, compile_script, nodes
from query_lang.dialect import parse
from query_lang.logical import Process
from query_lang.schema import CameraSchema, Catalog, find_name
from query_lang.scope import span


def shown_names(text: str) -> frozenset[str]:
    """The masks and region schemes that a query's SPLITs name, in lower case. Raises QueryError."""
    splits = [statement for statement in parse(text) if isinstance(statement, nodes.Split)]
    named = [name for split in splits for name in (*(split.args.get("masks") or ()), split.args.get("region")) if name]
    return frozenset(name.name.casefold() for name in named)


def processes(text: str, width: int, height: int, known: Mapping[str, CameraSchema]) -> tuple[Process, ...]:
    """The PROCESS statements that a query's SELECTs read, with cameras of `width` x `height` pixels.

    `known` are the cameras of which masks and regions are published. Of another one any mask may be named, as it is not
    applied, and no region scheme. Raises QueryError.
    """
    splits = [statement for statement in parse(text) if isinstance(statement, nodes.Split)]
    others = {}
    for split in splits:
        if find_name(split.this.name, known) is not None:
            continue
        if region := split.args.get("region"):
            raise QueryError(
                "unknown_name",
                f"nothing says what the regions {region.name!r} show",
                text=text,
                span=span(region),
                hint="give the owner's policy file (--policy), or take the camera's own clip (--sample)",
            )
        masks = {mask.name for other in splits for mask in other.args.get("masks") or ()}
        others[split.this.name] = CameraSchema(split.this.name, masks=tuple(masks))
    cameras = {name: replace(camera, width=width, height=height) for name, camera in {**known, **others}.items()}
    return compile_script(text, Catalog(cameras=cameras)).processes
