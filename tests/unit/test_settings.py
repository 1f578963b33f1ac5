from __future__ import annotations

import socket
from pathlib import Path

import pytest

from outrider import settings
from outrider.errors import Problem, SettingsError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("outrider.toml").absolute()
    path.write_text(text, encoding="utf-8")
    return path


def problems(text: str) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        settings.load(written(text))
    return caught.value.problems


def only(text: str) -> Problem:
    (problem,) = problems(text)
    return problem


BOT = '[bots.canary]\nentry = "mybots.canary:main"\n'


def test_a_folder_without_a_file_gets_the_defaults(tmp_path: Path) -> None:
    found = settings.load()

    assert (
        found.environment, found.interval_s, found.bots, found.alert,
    ) == ("development", 10.0, {}, ())  # fmt: skip
    assert tmp_path / ".outrider" == found.data_dir
    assert found.redis_url is None
    assert socket.gethostname().split(".")[0].lower() == found.host


def test_the_file_is_found_in_a_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("interval_s = 2")
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)

    assert path == settings.find_file()
    assert settings.load().interval_s == 2


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text("interval_s = 3")
    written("interval_s = 2")
    monkeypatch.setenv("OUTRIDER_CONFIG", str(elsewhere))

    assert settings.load().interval_s == 3


def test_a_named_file_that_is_missing_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_CONFIG", "/nowhere/outrider.toml")
    with pytest.raises(SettingsError, match=r"/nowhere/outrider\.toml.*No such file"):
        settings.load()


def test_the_environment_counts_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(
        "interval_s = 2\n[retention]\nraw = '1h'\n[dashboard]\nport = 1000\nenabled = false"
    )
    monkeypatch.setenv("OUTRIDER_INTERVAL_S", "5s")
    monkeypatch.setenv("OUTRIDER_DASHBOARD__PORT", "2000")
    found = settings.load(path)

    assert (found.interval_s, found.retention.raw) == (5.0, 3600.0)
    assert (found.dashboard.port, found.dashboard.enabled) == (2000, False)


def test_a_bot_of_the_file_can_be_changed_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUTRIDER_BOTS__CANARY__INSTANCES", "3")
    bot = settings.load(written(BOT)).bots["canary"]

    assert (bot.entry, bot.instances) == ("mybots.canary:main", 3)


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("OUTRIDER_REDIS_URL", lambda found: found.redis_url.get_secret_value()),
        ("OUTRIDER_DATABASE__URL", lambda found: found.database.url.get_secret_value()),
        (
            "OUTRIDER_NOTIFY__WEBHOOK__URL",
            lambda found: found.notify.webhook[0].url.get_secret_value(),
        ),
    ],
)
def test_a_secret_is_read_from_the_file_that_its_variable_names(
    variable: str, read: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("https://secret/0\n")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))

    assert callable(read)
    assert read(settings.load()) == "https://secret/0"


def test_a_secrets_file_that_is_missing_is_a_mistake_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL_FILE", "/nowhere/redis")
    found = problems("interval_s = 0")

    assert {"OUTRIDER_REDIS_URL_FILE", "interval_s"} == {problem.key for problem in found}


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    found = settings.load(written('redis_url = "redis://:hunter2@h/0"'))

    assert "hunter2" not in repr(found)


def test_paths_count_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written('data_dir = "state"')
    monkeypatch.chdir("/")

    assert tmp_path / "state" == settings.load(path).data_dir


def test_sizes_and_durations_are_written_with_units() -> None:
    found = settings.load(written(f'interval_s = "5s"\n{BOT}limits = {{ memory = "300MiB" }}'))

    assert found.interval_s == 5
    assert found.bots["canary"].limits.memory == 300 << 20


@pytest.mark.parametrize(
    ("text", "key", "line", "value", "words"),
    [
        ("interval = 5", "interval", 1, None, "unknown key. Did you mean interval_s?"),
        ("\ninterval_s = 0", "interval_s", 2, 0, "seconds between two ticks"),
        ('interval_s = "soon"', "interval_s", 1, "soon", "write it like 30s"),
        ("interval_s = nan", "interval_s", 1, None, "is not a duration"),
        ('environment = "prod"', "environment", 1, "prod", "'production'"),
        ('host = "fleet"', "host", 1, "fleet", "choose another name"),
        ('timezone = "Mars/Olympus"', "timezone", 1, "Mars/Olympus", "Europe/Berlin"),
        (f"{BOT}instances = -1", "bots.canary.instances", 3, -1, "how many processes"),
        (f"{BOT}instnaces = 1", "bots.canary.instnaces", 3, None, "Did you mean instances?"),
        (f"{BOT}[bots.canary.limits]\nmemory = 'much'", "bots.canary.limits.memory", 4, "much",
         "write it like 300MiB"),
        (f"{BOT}[bots.canary.limits]\nmemory = '1kB'", "bots.canary.limits.memory", 4, "1kB",
         "resident memory"),
        (f"{BOT}[bots.canary.limits]\ncpu = inf", "bots.canary.limits.cpu", 4, None, "finite"),
        (f"{BOT}[bots.canary.restart]\nintensity = 'often'", "bots.canary.restart.intensity", 4,
         "often", "write it like 5/60s"),
        (f"{BOT}restart = {{ backoff_s = [-1.0] }}", "bots.canary.restart.backoff_s", 3, [-1.0],
         "use 0 for an immediate restart"),
        (f"{BOT}restart = {{ backoff_s = [0.0, nan] }}", "bots.canary.restart.backoff_s.1", 3, None,
         "finite"),
        (f"{BOT}ready_timeout_s = 0", "bots.canary.ready_timeout_s", 3, 0, "restarted"),
        ("[bots.canary]\nentry = 'canary'", "bots.canary.entry", 2, "canary", "module:function"),
        ("[bots.canary]\ninstances = 1", "bots.canary", 1, None, "give either entry"),
        (f"{BOT}command = ['canary']", "bots.canary", 1, None, "give either entry"),
        ("[bots.Canary]\nentry = 'a:b'", "bots.Canary", 1, None, "must match"),
        ('[bots."my.canary"]\nentry = "a:b"', "bots.my.canary", 1, None, "must match"),
        ("[bots.worker]\nentry = 'a:b'", "bots.worker", 1, None, "taken by Outrider"),
        ("[bots.all]\nentry = 'a:b'", "bots.all", 1, None, "taken by Outrider"),
        (f"{BOT}[bots.canary-2]\nentry = 'a:b'", "bots.canary-2", 3, None, "instance of canary"),
        (f"{BOT}needs = ['market']", "bots.canary.needs", 3, "market", "Declared are: canary"),
        (f"{BOT}needs = ['canary']", "bots.canary.needs", 3, "canary -> canary", "circle"),
        ("[notify.webhook]\nurl = 'ftp://h'", "notify.webhook.url", 2, None, "begin with http"),
        ("[notify.webhook]\nurl = 'https://'", "notify.webhook.url", 2, None, "has no host"),
        ("[notify.webhook]\nurl = 'https://h:x/'", "notify.webhook.url", 2, None, "ort"),
        ("[[scrape]]\nname = 'a'\nurl = 'file:///x'", "scrape.0.url", 3, None, "begin with http"),
        ("[[scrape]]\nname = 'a b'\nurl = 'http://h'", "scrape.0.name", 2, "a b", "pattern"),
        ("[[scrape]]\nname = 'a'\nurl = 'http://h'\nbot = 'b.c'",
         "scrape.0.bot", 4, "b.c", "pattern"),
        ("[[scrape]]\nname = 'a'\nurl = 'http://h'\ntimeout_s = 60",
         "scrape.0.timeout_s", 4, 60, "less than or equal to 10"),
        ("[[scrape]]\nname = 'a'\nurl = 'http://h'\nmetrics = []",
         "scrape.0.metrics", 4, None, "at least 1"),
        ("[[scrape]]\nname = 'a'\nurl = 'http://h'\nlimit = 0",
         "scrape.0.limit", 4, 0, "greater than or equal to 1"),
        ("[[scrape]]\nname = 'a'\nurl = 'http://h'\n[[scrape]]\nname = 'a'\nurl = 'http://i'",
         "scrape.1.name", 5, "a", "two endpoints"),
        ("[statsd]\nport = 0", "statsd.port", 2, 0, "greater than or equal to 1"),
        ("[[redis]]\nname = 'a'\nurl = 'http://h'", "redis.0.url", 3, None, "begin with redis"),
        ("[[redis]]\nname = 'a'\nurl = 'redis://h'\n[[redis]]\nname = 'a'\nurl = 'redis://i'",
         "redis.1.name", 5, "a", "two servers"),
        ("[warm]\nbudget = 2.0", "warm.budget", 2, 2.0, "share of demand"),
        ("[schedule.tune]\nevery = 5", "schedule.tune.every", 2, None, "Did you mean every_s?"),
        ("[[alert]]\nname = 'a'\nwhen = 'x > 1'\n[[alert]]\nname = 'a'\nwhen = 'x > 2'",
         "alert.1.name", 5, "a", "two rules"),
        ("[[celery]]\nname = 'a'\nbroker = 'redis://x'\n[[celery]]\nname = 'a'\nbroker = 'redis://y'",
         "celery.1.name", 5, "a", "two applications"),
        ("[[celery]]\nname = 'tasks'\nbroker = 'redis://x'", "celery.0.name", 2, "tasks", "taken"),
        ("[[celery]]\nname = 'a'\nbroker = 'amqp://u:secret@x//'", "celery.0.broker", 3, None,
         "RabbitMQ can't be watched"),
        ("[[celery]]\nname = 'a'\nbroker = 'sqs://x'", "celery.0.broker", 3, None, "write it like"),
        ("[[alert]]\nname = 'a'\nwhen = 'x > 1'\n[[alert]]\nname = 'b'", "alert.1.when", 4, None,
         "required"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_key_line_value_and_remedy(
    text: str, key: str, line: int, value: object, words: str
) -> None:
    problem = only(text)

    assert (key, line) == (problem.key, problem.line)
    if value is not None:
        assert value == problem.value
    assert words in f"{problem.message} {problem.remedy}"
    assert str(problem).startswith(f"{Path('outrider.toml').absolute()}:{line}: {key}")


def test_all_mistakes_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_INTREVAL_S", "5")
    monkeypatch.setenv("OUTRIDER_RETENTION_S", "ever")
    found = problems(
        """
        environmnet = "production"
        [bots.a]
        entry = "bots:a"
        needs = ["b", "nobody"]
        [bots.b]
        entry = "bots:b"
        needs = ["a"]
        instances = "two"
        [bots.C]
        command = ["c"]
        """
    )

    assert sorted(
        (p.key.removeprefix("bots."), p.line) for p in found if p.key.startswith("bots.")
    ) == [
        ("C", 10), ("a.needs", 5), ("a.needs", 5), ("b.instances", 9),
    ]  # fmt: skip
    assert {"OUTRIDER_INTREVAL_S", "OUTRIDER_RETENTION_S", "environmnet"} == {
        p.key for p in found if not p.key.startswith("bots.")
    }


@pytest.mark.parametrize(
    "text",
    [
        'redis_url = ["hunter2"]',
        'redis_ulr = "redis://:hunter2@h/0"',
        'redis_url = { password = "hunter2" }',
        'database = "postgresql://bot:hunter2@h/db"',
        '[database]\npassword = "hunter2"',
        '[database]\nurl = ["postgresql://bot:hunter2@h/db"]',
        'notify = [{ webhook = { url = "https://h/hunter2" } }]',
        '[notify.webhook]\nurl = "ftp://h/hunter2"',
        '[[scrape]]\nname = "a"\nurl = "ftp://me:hunter2@h"',
        '[[redis]]\nname = "a"\nurl = "http://:hunter2@h"',
        f'{BOT}env = ["TOKEN=hunter2"]',
        f"{BOT}env = {{ TOKEN = ['hunter2'] }}",
    ],
)
def test_no_message_shows_a_secret(text: str) -> None:
    assert "hunter2" not in "\n".join(map(str, problems(text)))


def test_a_table_that_is_declared_twice_is_named_with_its_line() -> None:
    problem = only(f"{BOT}\n{BOT}")

    assert (problem.key, problem.line) == ("syntax", 4)
    assert "declared twice" in problem.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"interval_s = = 5", "Mend the TOML"),
        (b"host = '\xff'", "UTF-8"),
        (b"[bots", "Mend the TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_one_mistake(content: bytes, words: str) -> None:
    Path("outrider.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        settings.load()


def test_a_folder_in_place_of_the_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    ("variable", "suggested"),
    [
        ("OUTRIDER_INTERVAL", "Did you mean OUTRIDER_INTERVAL_S?"),
        ("OUTRIDER_REDIS_URL_FIEL", "Did you mean OUTRIDER_REDIS_URL_FILE?"),
        ("OUTRIDER_HOST_FILE", "Did you mean OUTRIDER_"),
        ("OUTRIDER_XYZZY", "Known are, each after OUTRIDER_: ALERT, "),
    ],
)
def test_an_unknown_variable_is_named_with_what_was_meant(
    variable: str, suggested: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/dev/null")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    (problem,) = caught.value.problems

    assert ("environment", variable) == (problem.source, problem.key)
    assert suggested in problem.remedy


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("OUTRIDER_INTERVAL_S", "soon", "OUTRIDER_INTERVAL_S"),
        ("OUTRIDER_DASHBOARD__PORT", "x", "OUTRIDER_DASHBOARD__PORT"),
        ("OUTRIDER_ALERT", '[{"name": "a"}]', "OUTRIDER_ALERT.0.when"),
        ("OUTRIDER_BOTS__NEW__INSTANCES", "1", "bots.new"),
        ("OUTRIDER_BOTS", "canary", "OUTRIDER_BOTS"),
        ("OUTRIDER_DASHBOARD", "8080", "OUTRIDER_DASHBOARD"),
    ],
)
def test_a_wrong_variable_is_named_even_when_the_file_sets_the_same(
    variable: str, value: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    problem = only("interval_s = 5\n[dashboard]\nport = 1\n")

    assert ("environment", key) == (problem.source, problem.key)


@pytest.mark.parametrize("variable", ["OUTRIDER_BOT", "OUTRIDER_TELEMETRY", "OUTRIDER_TEST_ANY"])
def test_variables_of_other_parts_are_no_mistake(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "x")

    assert settings.load()


def test_sockets_lie_in_the_data_folder(tmp_path: Path) -> None:
    assert tmp_path / ".outrider" / "run" == settings.load().run_dir()


@pytest.mark.parametrize("folder", ["x" * 200, "\N{SNOWMAN}" * 30])
def test_a_deep_data_folder_gets_its_sockets_where_their_path_fits(
    folder: str, tmp_path: Path
) -> None:
    path = str(settings.Settings(data_dir=tmp_path / folder).run_dir() / "telemetry.sock")

    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(FileNotFoundError):
        probe.bind(path)  # too long a path would be "AF_UNIX path too long"
    assert path != str(settings.Settings(data_dir=tmp_path / f"{folder}y").run_dir())


def test_how_long_each_tier_is_kept_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written("[retention]\nraw = '12h'\nhours = '2d'")
    monkeypatch.setenv("OUTRIDER_RETENTION__FIVE_MINUTES", "1d")
    kept = settings.load(path).retention

    assert (kept.raw, kept.five_minutes, kept.hours) == (43_200.0, 86_400.0, 172_800.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raw = '10s'", "retention.raw = 10.0: Input should be greater than or equal to 3600."),
        ("raw = '60d'", "retention.five_minutes = 2592000.0: kept for less than raw (60d0h); "),
        ("hours = '20d'", "retention.hours = '20d': kept for less than five_minutes (30d0h); "),
        ("hours = '20y'", "retention.hours = '20y': '20y' is not a duration"),
        ("minutes = '1d'", "retention.minutes: unknown key. Did you mean five_minutes?"),
    ],
)
def test_tiers_that_are_kept_in_the_wrong_order_are_refused(text: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.load(written(f"[retention]\n{text}"))

    assert words in str(refused.value)


def test_the_former_name_of_the_raw_retention_is_answered_with_the_new_one() -> None:
    with pytest.raises(SettingsError, match=r"retention_s: unknown key. Did you mean retention\?"):
        settings.load(written("retention_s = '2d'"))


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[[route]]\nname = 'a'\nchannels = ['pigeon']", "route.0.channels", "no such channel"),
        ("[[route]]\nname = 'a'\nescalate = ['1m: pigeon']", "route.0.escalate", "no such channel"),
        ("[[route]]\nname = 'a'\nescalate = ['1m: log', '1m: log']", "route.0.escalate", "later"),
        ("[[route]]\nname = 'a'\nescalate = ['soon']", "route.0.escalate", "is no level"),
        ("[[route]]\nname = 'a'\nquiet = ['late']", "route.0.quiet", "are no hours"),
        ("[[silence]]\nname = 'a'\nmatch = {}\nwhen = ['02:00-03:00']", "silence.0.match", "least"),
        ("[notify.slack]\nurl = 'https://h/'\nrate = '0/60s'", "notify.slack.rate", "nothing"),
        ("[[notify.ntfy]]\ntopic='a'\n[[notify.ntfy]]\ntopic='b'", "notify", "called ntfy"),
    ],
)  # fmt: skip
def test_a_mistake_in_who_is_told_is_named(text: str, key: str, words: str) -> None:
    problem = only(text)

    assert key == problem.key
    assert words in f"{problem.message} {problem.remedy}"
