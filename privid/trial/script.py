"""A query that is tried out: its PROCESS statements, planned as if every camera had recorded one video file."""

from query_lang import compile_script, nodes
from query_lang.dialect import parse
from query_lang.logical import Process
from query_lang.schema import CameraSchema, Catalog


def processes(text: str, width: int, height: int) -> tuple[Process, ...]:
    """The PROCESS statements that a query's SELECTs read, with cameras of `width` x `height` pixels.

    Any mask may be named, as masks are not applied; region schemes are not known. Raises QueryError.
    """
    splits = [statement for statement in parse(text) if isinstance(statement, nodes.Split)]
    masks = tuple({mask.name for split in splits for mask in split.args.get("masks") or ()})
    names = {split.this.name for split in splits}
    cameras = {name: CameraSchema(name, masks=masks, width=width, height=height) for name in names}
    return compile_script(text, Catalog(cameras=cameras)).processes
