"""Who writes to the bots, when, and what: a seeded crowd that sleeps at night.

Arrivals are a Poisson process whose rate follows the hour, drawn by thinning (Lewis and Shedler,
1979): candidates come at the peak rate, and each is kept with probability rate / peak. Every
arrival has its own random source, named by seed, account and number, so that what the hundredth
visitor does never depends on how quickly a bot answered the others.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from dataclasses import dataclass

NIGHT = 0.08  # share of the peak rate in the small hours
FIRST_NAMES = (
    "Ada", "Ben", "Chloe", "Deniz", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kim",
    "Lea", "Mateo", "Noor", "Olga", "Pavel", "Quinn", "Rosa", "Sofia", "Tariq", "Uma", "Zoe",
)  # fmt: skip
# UPU standard S10: the weights behind the check digit of a parcel number.
S10_WEIGHTS = (8, 6, 4, 2, 3, 5, 9, 7)


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people of one bot. ``day_s`` is how long their day lasts: 3600 shows one in an hour."""

    seed: int = 1
    people: int = 120
    peak_per_s: float = 4.0
    day_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with a private chat, whose number is the same as their own."""

    id: int
    first_name: str
    language_code: str = "en"


@dataclass(frozen=True, slots=True)
class Line:
    """Something people write; with ``after``, only below a message that holds those words."""

    weight: float
    text: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Says:
    """A person writes a text or a command."""

    text: str


@dataclass(frozen=True, slots=True)
class Presses:
    """A person presses a button; an impatient one, several times."""

    data: str
    times: int = 1


SCRIPTS: dict[str, tuple[Line, ...]] = {
    "canary": (
        Line(5, "/play"),
        Line(2, "/scores"),
        Line(2, "/me"),
        Line(0.3, "/start"),
        Line(0.3, "is anyone there?"),
    ),
    "ledger": (
        Line(6, "{amount} {thing}"),
        Line(3, "{thing} {amount} €"),
        Line(3, "/month"),
        Line(0.5, "/undo"),
        Line(0.3, "how much was it again"),
        Line(0.2, "/start"),
    ),
    "courier": (
        Line(3, "/track"),
        Line(5, "/parcels"),
        Line(0.3, "/cancel"),
        Line(0.2, "/start"),
        Line(30, "{parcel}", after="Which number"),
        Line(30, "{thing}", after="What is inside"),
    ),
}
THINGS = ("coffee", "lunch", "books", "bus", "rent", "shoes", "tea", "cinema", "bread", "a lamp")


def activity(hour: float) -> float:
    """Return the share of the peak at an hour of the day: quiet nights, a lunch, a long evening.

    >>> round(activity(20), 2), round(activity(4), 2)
    (1.0, 0.08)
    """

    def near(centre: float, width: float) -> float:
        apart = abs((hour - centre + 12) % 24 - 12)
        return math.exp(-((apart / width) ** 2))

    return NIGHT + (1 - NIGHT) * max(near(20, 3.5), 0.6 * near(12.5, 2.5))


def rate(at_s: float, crowd: Crowd) -> float:
    """Return arrivals per second at a moment."""
    return crowd.peak_per_s * activity(at_s / crowd.day_s % 1 * 24)


def next_arrival(at_s: float, crowd: Crowd, draw: random.Random) -> float:
    """Return when the next person comes, after ``at_s``."""
    while True:
        at_s += draw.expovariate(crowd.peak_per_s)
        if draw.random() * crowd.peak_per_s <= rate(at_s, crowd):
            return at_s


def source(crowd: Crowd, account: str, number: int) -> random.Random:
    """Return the randomness of one arrival."""
    return random.Random(f"{crowd.seed}:{account}:{number}")


@functools.cache
def people(crowd: Crowd, account: str) -> tuple[Person, ...]:
    """Return everyone who may write to an account."""
    draw = random.Random(f"{crowd.seed}:{account}:people")
    ids = sorted(draw.sample(range(100_000_000, 999_999_999), crowd.people))
    return tuple(Person(id_, draw.choice(FIRST_NAMES)) for id_ in ids)


def visitor(crowd: Crowd, account: str, draw: random.Random) -> Person:
    """Return who comes: a few people write often, many now and then (Zipf's law)."""
    return draw.choices(people(crowd, account), cum_weights=_zipf(crowd.people))[0]


def act(
    account: str, last_text: str, buttons: tuple[str, ...], draw: random.Random
) -> Says | Presses:
    """Return what a person does, given the bot's last message to them and its buttons."""
    if buttons and draw.random() < 0.8:
        impatient = draw.random() < 0.04
        return Presses(draw.choice(buttons), times=draw.randint(3, 6) if impatient else 1)
    lines = [line for line in SCRIPTS[account] if line.after in last_text]
    line = draw.choices(lines, weights=[line.weight for line in lines])[0]
    return Says(
        line.text.format(
            amount=f"{draw.lognormvariate(2.3, 0.8):.2f}",
            thing=draw.choice(THINGS),
            parcel=parcel_number(draw),
        )
    )


def parcel_number(draw: random.Random) -> str:
    """Return a parcel's number; one in eight is mistyped."""
    digits = f"{draw.randrange(40):08d}"
    check = check_digit(digits)
    if draw.random() < 0.125:
        check = (check + 1) % 10
    return f"RR{digits}{check}DE"


def check_digit(digits: str) -> int:
    """Return the S10 check digit of eight digits.

    >>> check_digit("47312482")
    9
    """
    total = sum(weight * int(digit) for weight, digit in zip(S10_WEIGHTS, digits, strict=True))
    return {10: 0, 11: 5}.get(11 - total % 11, 11 - total % 11)


@functools.cache
def _zipf(count: int) -> tuple[float, ...]:
    return tuple(itertools.accumulate(1 / (rank + 4) for rank in range(count)))
