"""Every series that the mapping names exists, and units go together."""

from __future__ import annotations

import re

import pytest

from outrider.metrics.opentelemetry import MAPPED, UNMAPPED, Mapped
from outrider.metrics.series import METRICS

KNOWN = {metric.pattern: metric for metric in METRICS}
UNITS = {"s": {"s"}, "1": {"ratio"}, "By": {"bytes"}}


@pytest.mark.parametrize("mapped", MAPPED, ids=lambda mapped: mapped.pattern)
def test_a_mapped_series_is_in_the_catalogue_in_that_unit(mapped: Mapped) -> None:
    metric = KNOWN[mapped.pattern]
    unit = "s" if "seconds" in metric.pattern else metric.unit
    if "the count of" not in mapped.note:
        assert unit in UNITS.get(mapped.unit, {""})


@pytest.mark.parametrize("mapped", MAPPED, ids=lambda mapped: mapped.pattern)
def test_attributes_name_labels_that_the_series_has(mapped: Mapped) -> None:
    named = set(re.findall(r"\{(\w+)\}", mapped.attributes)) - {"token"}
    assert named <= set(KNOWN[mapped.pattern].labels)


def test_what_has_no_counterpart_exists_too_and_is_not_mapped() -> None:
    assert set(UNMAPPED) <= set(KNOWN)
    assert not set(UNMAPPED) & {mapped.pattern for mapped in MAPPED}


def test_no_series_is_mapped_twice() -> None:
    assert len(MAPPED) == len({mapped.pattern for mapped in MAPPED})
