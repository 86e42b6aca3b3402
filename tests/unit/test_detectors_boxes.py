"""From frames to what a network takes, and from what it gives to boxes: layouts, letterbox, suppression."""

import numpy as np
import pytest

from workers.detectors import coco, fastestdet, pictures, yolo
from workers.detectors.boxes import Boxes, boxes, suppress

SIZE = (480, 640)
WANTED = boxes([[100, 120, 160, 260], [300, 40, 420, 100]], [0.9, 0.6], [2, 0])
"""Two things in an input of SIZE, of classes 2 and 0 of 3."""


def same(found: Boxes, wanted: Boxes, pixels: float = 0.01) -> None:
    assert found.classes.tolist() == wanted.classes.tolist()
    np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=pixels)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


def output(layout: yolo.Layout, anchors: int = 50) -> np.ndarray:
    """What a network of this layout says of WANTED: among `anchors` places, all others empty."""
    left, top, right, bottom = WANTED.xyxy.T
    middle_and_size = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], axis=1)
    rows = np.zeros((anchors, {"v5": 8, "v8": 7, "end-to-end": 6}[layout]), np.float32)
    for row, box, middle, score, thing in zip(
        (7, 31), WANTED.xyxy, middle_and_size, WANTED.scores, WANTED.classes, strict=True
    ):
        if layout == "end-to-end":
            rows[row] = [*box, score, thing]
        elif layout == "v8":
            rows[row, :4], rows[row, 4 + thing] = middle, score
        else:
            rows[row, :4], rows[row, 4], rows[row, 5 + thing] = middle, 0.95, score / 0.95
    return rows.T[None] if layout == "v8" else rows[None]


@pytest.mark.parametrize("layout", ["v5", "v8", "end-to-end"])
def test_every_layout_says_the_same(layout):
    same(yolo.decode(output(layout), layout, 0.25), WANTED)
    same(yolo.decode(output(layout), layout, 0.7), WANTED[[0]])
    assert len(yolo.decode(output(layout), layout, 0.95)) == 0


@pytest.mark.parametrize(
    ("given", "taken"), [("v5", "v8"), ("v8", "v5"), ("v5", "end-to-end"), ("v8", "end-to-end"), ("end-to-end", "v8")]
)
def test_another_layout_is_refused_and_not_misread(given, taken):
    with pytest.raises(ValueError, match="try v5, v8 or end-to-end"):
        yolo.decode(output(given), taken, 0.25)


def test_a_batch_or_a_mask_is_refused():
    with pytest.raises(ValueError, match="one frame"):
        yolo.decode(np.zeros((2, 84, 8400), np.float32), "v8", 0.25)
    with pytest.raises(ValueError, match="FastestDet's output"):
        fastestdet.decode(np.zeros((1, 84, 8400), np.float32), (352, 352), 0.5)


def test_a_cell_of_fastestdet_is_a_box():
    cells = np.zeros((1, 85, 22, 22), np.float32)
    logit = np.log(0.25 / 0.75)  # a quarter of the picture
    cells[0, :5, 10, 4] = [0.8, np.arctanh(0.5), np.arctanh(-0.5), logit, logit]
    cells[0, 5 + coco.PERSON, 10, 4] = 0.5
    found = fastestdet.decode(cells, (352, 352), 0.5)
    x, y = (4 + 0.5) / 22 * 352, (10 - 0.5) / 22 * 352
    same(found, boxes([[x - 44, y - 44, x + 44, y + 44]], [0.8**0.6 * 0.5**0.4], [0]))


@pytest.mark.parametrize("shape", [(576, 768), (360, 640), (768, 576), (480, 640), (97, 33)])
def test_boxes_come_back_from_a_letterbox(shape):
    height, width = shape
    picture, placement = pictures.letterboxed(np.full((height, width, 3), 200, np.uint8), SIZE)
    assert picture.shape == (*SIZE, 3)
    rows, columns = np.nonzero((picture == 200).all(axis=2))
    inside = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    pixel = 1 / placement.scale[0]
    np.testing.assert_allclose(placement.back(inside), [[0, 0, width, height]], atol=pixel)
    middle = np.array([[*(np.array(placement.offset) + np.array([width, height]) * placement.scale / 2)] * 2])
    np.testing.assert_allclose(placement.back(middle), [[width / 2, height / 2] * 2], atol=1e-3)


def test_what_lies_beyond_the_picture_is_cut():
    _, placement = pictures.stretched(np.zeros((100, 200, 3), np.uint8), (50, 50))
    np.testing.assert_allclose(placement.back(np.array([[-5, 25, 60, 60]], np.float32)), [[0, 50, 200, 100]])


def test_a_tensor_has_the_channels_in_the_order_of_the_network():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = 255
    blue_first, red_first = (pictures.tensor(picture, rgb=rgb) for rgb in (False, True))
    assert blue_first.shape == (1, 3, 2, 3)
    assert blue_first.dtype == np.float32
    assert blue_first.mean(axis=(0, 2, 3)).tolist() == [1, 0, 0]
    assert red_first.mean(axis=(0, 2, 3)).tolist() == [0, 0, 1]


def test_of_boxes_that_overlap_the_surest_is_kept():
    two_of_one_car = [[10, 10, 50, 50], [12, 10, 52, 50], [100, 10, 140, 50]]
    found = boxes(two_of_one_car, [0.6, 0.8, 0.7], [2, 2, 2])
    same(suppress(found, 0.45), found[[1, 2]])
    as_car_and_truck = boxes(two_of_one_car, [0.6, 0.8, 0.7], [2, 7, 2])
    assert len(suppress(as_car_and_truck, 0.45)) == 3
    same(suppress(as_car_and_truck, 0.45, across_classes=True), as_car_and_truck[[1, 2]])
    assert len(suppress(boxes([], [], []), 0.45)) == 0


def test_boxes_of_some_classes_and_scores():
    assert WANTED.of([0, 1]).scores.tolist() == [pytest.approx(0.6)]
    assert WANTED.over(0.9 - 1e-6).classes.tolist() == [2]
    assert len(boxes([], [], []).of([0])) == 0


def test_a_detector_gives_boxes_in_pixels_of_the_frame():
    frame = np.zeros((240, 320, 3), np.uint8)  # half of SIZE
    detect = yolo.Yolo(lambda batch: (output("v8"),), SIZE, "v8")
    same(detect(frame), boxes(WANTED.xyxy / 2, WANTED.scores, WANTED.classes))


def test_coco_has_its_eighty_classes():
    assert len(set(coco.NAMES)) == 80
    assert [coco.NAMES[number] for number in coco.VEHICLES] == ["car", "motorcycle", "bus", "truck"]
    assert (coco.NAMES[0], coco.NAMES[62], coco.NAMES[79]) == ("person", "tv", "toothbrush")
