from __future__ import annotations

from outrider.settings import Settings
from outrider.supervisor import budget

GIB = 1 << 30


def made(**bots: dict[str, object]) -> budget.Budget:
    declared = {name: {"entry": "m:f", **bot} for name, bot in bots.items()}
    settings = Settings.model_validate({"bots": declared})
    return budget.of(settings, host_memory_bytes=4 * GIB, host_cores=2)


def test_limits_add_up_over_instances_and_the_most_that_scaling_may_start() -> None:
    found = made(
        owl={"instances": 2, "limits": {"memory": "1GiB", "cpu": 0.5}},
        canary={"scale": {"max": 3}, "limits": {"memory": "512MiB"}},
    )

    assert (found.memory_bytes, found.cores) == (3.5 * GIB, 1.0)
    assert found.fits
    assert str(found) == "limits of 3.5 GiB of 4.0 GiB memory and 1 of 2 cores"


def test_cores_promised_twice_are_told_with_what_each_gets() -> None:
    found = made(owl={"instances": 8, "limits": {"cpu": 0.5}})

    assert not found.fits
    assert "4 of 2 cores: when all are busy each gets 50% of its limit" in str(found)
    assert "no memory limit: owl" in str(found)


def test_more_memory_than_there_is_does_not_fit() -> None:
    assert not made(owl={"instances": 5, "limits": {"memory": "1GiB"}}).fits
