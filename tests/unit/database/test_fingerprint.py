"""Statements of one shape have one name, and none of their values leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.database import fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT * FROM t WHERE a = 1", "select *\n from T where A = 'x'"),
        ("SELECT * FROM t WHERE a IN (1)", "SELECT * FROM t WHERE a IN (1, 2, 3)"),
        ("SELECT * FROM t WHERE a = %s", "SELECT * FROM t WHERE a = $1"),
        ("SELECT * FROM t WHERE a = %(a)s", "SELECT * FROM t WHERE a = :a"),
        ("INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1, 2), (3, 4)"),
        ("SELECT `a` FROM t WHERE b = 5", "SELECT `a` FROM  t WHERE b = 'y'"),
        ("SELECT `a` FROM t WHERE b IN (1)", "SELECT `a` FROM t WHERE b IN (1, 2)"),
    ],
)
def test_values_make_no_difference(one: str, other: str) -> None:
    assert fingerprint.of(one).id == fingerprint.of(other).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT a FROM t WHERE a = 1", "SELECT a FROM t WHERE a > 1"),
        ("SELECT `a` FROM t", "SELECT `a` FROM s"),
    ],
)
def test_another_shape_has_another_name(one: str, other: str) -> None:
    assert fingerprint.of(one).id != fingerprint.of(other).id


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            r"SELECT * FROM t WHERE a = E'it\'s' AND b = 'o''clock' AND c = -3.5e-3",
            "SELECT * FROM t WHERE a = $1 AND b = $2 AND c = $3",
        ),
        ("SELECT a FROM t WHERE b = 'é' AND c = $$x$$", "SELECT a FROM t WHERE b = $1 AND c = $2"),
        ("SELECT a FROM t WHERE d = %s AND b = 7", "SELECT a FROM t WHERE d = $1 AND b = $2"),
        (
            "SELECT d->>'k' FROM t WHERE done = true LIMIT 5",
            "SELECT d->>'k' FROM t WHERE done = true LIMIT 5",
        ),
    ],
)
def test_text_keeps_the_shape_only(statement: str, text: str) -> None:
    assert text == fingerprint.of(statement).text


@given(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=40))
def test_a_pasted_value_never_shows(value: str) -> None:
    secret = f"s3cret{value}s3cret"
    written = secret.replace("'", "''")
    assert "s3cret" not in fingerprint.of(f"SELECT a FROM t WHERE b = '{written}'").text


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 /* for s3cret /* of */ s3cret */ -- s3cret",
        "ALTER ROLE ann PASSWORD 's3cret'",
        "CREATE SUBSCRIPTION s CONNECTION 'password=s3cret' PUBLICATION p",
        "DO $body$ BEGIN PERFORM 's3cret'; END $body$",
        "NOTIFY news, 's3cret'",
        "SELECT 'one'\n 's3cret'",
        "SELEC 'cut off before the end of s3cret",
        'SELECT `a` FROM t WHERE b = "ann s3cret"',
    ],
)
def test_nothing_leaves_that_is_no_constant_to_the_parser(statement: str) -> None:
    assert "s3cret" not in fingerprint.of(statement).text


@given(st.text(max_size=200))
def test_anything_has_a_fingerprint(statement: str) -> None:
    assert fingerprint.of(statement).id


def test_a_very_long_statement_falls_back_to_a_pattern() -> None:
    rows = ", ".join(f"({n}, 'x')" for n in range(20_000))
    assert fingerprint.of(f"INSERT INTO t VALUES {rows}").id.startswith("~")


def test_statements_of_a_file_are_taken_apart() -> None:
    assert fingerprint.split("SELECT 'é;'; SELECT 2;") == ["SELECT 'é;'", "SELECT 2"]
    assert fingerprint.split("SELEC 1") is None
