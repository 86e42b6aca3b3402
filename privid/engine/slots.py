"""From the chunks and regions of a PROCESS to the slots that its executable runs on (privacy-model.md, section 1)."""

from collections.abc import Iterator, Set

from privid.domain.policy import CameraPolicy
from privid.engine.seen import region_names, views_of
from privid.video.catalog import Catalog
from privid.video.chunking import chunks
from privid.video.frames import read_chunks
from privid.video.pictures import PictureStore
from privid.video.store import SegmentStore
from query_lang.logical import Process, SchemaColumn, Split
from workers import wire
from workers.guest.chunk import Colour
from workers.host.feeder import Slot


def slots(
    video: Catalog,
    store: SegmentStore,
    pictures: PictureStore,
    split: Split,
    policy: CameraPolicy,
    wanted: Set[int],
    colour: Colour,
) -> Iterator[Slot]:
    """The wanted slots in order, with their frames in `colour`. A chunk is decoded once for all its regions.

    Slot i is region i % n of chunk i // n, where n is the number of regions. Raises what `read_chunks` and `views_of`
    raise.
    """
    regions = region_names(split, policy)
    some = {slot // len(regions) for slot in wanted}
    found = read_chunks(
        video,
        store,
        split.camera,
        [
            chunk
            for chunk in chunks(split.begin_us, split.end_us, split.chunk_us, split.period_us)
            if chunk.index in some
        ],
        views=views_of(split, policy, pictures),
        fps=split.fps,
        resize=split.resize,
        colour=colour,
    )
    for chunk in found:
        index = chunk.index * len(regions) + chunk.view
        if index not in wanted:
            if chunk.memory is not None:
                chunk.memory.reuse()
            continue
        yield Slot(
            index=index,
            frames=chunk.memory,
            frame_count=len(chunk.times_us),
            height=chunk.height,
            width=chunk.width,
            channels=3,
            times_us=chunk.times_us,
            start_us=chunk.begin_us,
            end_us=chunk.end_us,
            camera=split.camera,
            region=regions[chunk.view],
            fps=float(split.fps or policy.fps),
            colour=colour,
        )


def table_spec(process: Process) -> wire.TableSpec:
    """What one run may produce."""
    return wire.TableSpec(tuple(_column(column) for column in process.schema), process.max_rows, process.exact)


def _column(column: SchemaColumn) -> wire.ColumnSpec:
    default = column.default
    value = default if isinstance(default, str | bool) else float(default)
    return wire.ColumnSpec(column.name, column.type.value, value)  # type: ignore[arg-type]  # never TIMESTAMP
