from __future__ import annotations

import pytest

from outrider.database.wall import Wall, advised
from outrider.errors import BadArgument


def test_a_wall_that_leaves_nothing_is_refused_with_its_sum() -> None:
    with pytest.raises(BadArgument, match=r"100 - 3 reserved - 95 of other clients - 3 .* = -1"):
        Wall(100, reserved=3, others=95)


def test_hikari_s_rule_is_the_case_of_a_server_that_always_works() -> None:
    assert advised(cores=4, active_ratio=1.0, spindles=1) == 9


def test_a_server_that_waits_for_its_clients_may_have_more() -> None:
    assert advised(cores=2, active_ratio=0.05) == 80
    assert advised(cores=1, active_ratio=0.0) == 400


@pytest.mark.parametrize("bad", [{"cores": 0}, {"active_ratio": 1.5}, {"spindles": -1}])
def test_a_number_out_of_its_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadArgument, match="at least one core"):
        advised(**{"cores": 2, "active_ratio": 0.5, **bad})  # type: ignore[arg-type]
