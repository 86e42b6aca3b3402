"""The guarantee in words, and budgets as bars and pictures."""

import pytest

from privid.cli.admin_audit import what
from privid.client.values import AuditEntry
from privid.domain.policy import CameraPolicy
from privid.owner.budget_plot import BudgetCurve, bars, save_picture
from privid.owner.guarantee import guarantee, plain_duration

NANO = 10**9


def curve(*steps, epsilon=2 * NANO, span=(0, 100)):
    return BudgetCurve("plaza", epsilon, *span, steps)


def test_the_guarantee_names_camera_presence_and_factor():
    once = guarantee("plaza", CameraPolicy(epsilon_nano=NANO, rho_us=90_000_000, K=1))
    assert "plaza once, for at most 90 s, stays hidden" in once
    assert "2.72 times as likely" in once
    often = guarantee("plaza", CameraPolicy(epsilon_nano=2 * NANO, rho_us=1_500_000, K=4))
    assert "on at most 4 occasions, for at most 1.5 s each" in often
    assert "7.39 times" in often
    assert guarantee("x", CameraPolicy(epsilon_nano=10**15, rho_us=1, K=1))  # no overflow


@pytest.mark.parametrize(
    ("duration", "text"), [(30_000_000, "30 s"), (1_500_000, "1.5 s"), (7_200_000_000, "2 h"), (1, "1 us")]
)
def test_durations_in_plain_words(duration, text):
    assert plain_duration(duration) == text


def test_a_curve_has_no_holes_and_knows_its_extremes():
    found = curve((10, 20, NANO), (20, 30, 3 * NANO), (50, 100, NANO // 2))
    assert found.left() == (
        (0, 10, 2 * NANO),
        (10, 20, NANO),
        (20, 30, -NANO),
        (30, 50, 2 * NANO),
        (50, 100, 3 * NANO // 2),
    )
    assert (found.least_left_nano, found.most_left_nano) == (-NANO, 2 * NANO)
    assert curve().left() == ((0, 100, 2 * NANO),)


def test_bars_show_the_least_that_is_left_in_each_part():
    assert bars(curve(), 10) == "█" * 10
    assert bars(curve((50, 51, 2 * NANO)), 10) == "█████ ████"
    assert bars(curve((0, 50, NANO)), 10) == "▅▅▅▅▅█████"
    assert bars(curve((0, 100, 2 * NANO - 1)), 4) == "▁▁▁▁"
    assert bars(curve((0, 100, 5 * NANO)), 4) == "    "
    assert bars(curve((99, 100, NANO)), 7) == "██████▅"


def test_a_picture_is_a_png(tmp_path):
    path = tmp_path / "budget.png"
    save_picture([curve((10, 20, NANO)), curve((20, 30, 3 * NANO))], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_curve_needs_a_window():
    with pytest.raises(ValueError, match="window"):
        curve(span=(5, 5))


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ('{"camera": "plaza", "query": "q1"}', "q1 plaza"),
        ('{"name": "people", "version": 2, "sha256": "0f"}', "people"),
        ('{"refusals": [["plaza", 0, 1, 500000000, 1000000000]]}', "plaza: 0.5 left, 1 asked"),
        ('{"entries": 3}', "-"),
    ],
)
def test_an_entry_of_the_audit_log_in_a_few_words(document, text):
    assert what(AuditEntry(1, 0, "owner:me", "some.event", document, "", "")) == text
