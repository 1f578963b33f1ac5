"""docker-compose.yml and docker/: right by the specification, and true to the code."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from outrider import settings as settings_module
from outrider import variables
from outrider.cli.main import main
from outrider.settings import Settings
from outrider.store import connection, keys

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("bots", "worker", "beat", "flower", "dashboard")
SCRIPTS = sorted(DOCKER.glob("*.sh"))
_DEFAULTED = re.compile(r"\$\{\w+:-([^}]*)\}")


def resolved(text: str) -> str:
    """Return a value with the defaults of its variables, as Compose reads it."""
    return _DEFAULTED.sub(r"\1", text)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Return ``(source, target)`` of each volume."""
    found = [resolved(volume).split(":") for volume in service.get("volumes", ())]
    return [(source, target) for source, target, *_ in found]


def outrider_call(command: list[str]) -> list[str]:
    """Return the arguments of ``outrider`` in a command."""
    return command[command.index("outrider") + 1 :]


def instructions() -> list[list[str]]:
    """Return the Dockerfile's lines as words, continued ones joined."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def copied() -> list[str]:
    """Return what the Dockerfile copies from the repository."""
    return [
        source
        for name, *words in instructions()
        if name == "COPY" and not words[0].startswith("--from")
        for source in words[:-1]
    ]


def test_the_file_follows_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)

    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


def test_the_schema_would_notice_a_mistake() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text("utf-8"))
    wrong = {"services": {"worker": {"image": "outrider", "helthcheck": {}}}}

    assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)


def test_the_whole_stack_is_there() -> None:
    started = {name for name, service in SERVICES.items() if "profiles" not in service}

    assert {"valkey", "postgres", *OURS} == started


def test_monitoring_is_started_only_when_asked_for() -> None:
    optional = {
        name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service
    }

    assert optional == {"prometheus": ["monitoring"], "grafana": ["monitoring"]}


def test_files_that_monitoring_names_inside_are_mounted_there() -> None:
    prometheus = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text("utf-8"))
    provider = yaml.safe_load(
        (DOCKER / "grafana/provisioning/dashboards/outrider.yml").read_text("utf-8")
    )
    source = yaml.safe_load(
        (DOCKER / "grafana/provisioning/datasources/outrider.yml").read_text("utf-8")
    )
    targets = {target for _, target in mounts(SERVICES["prometheus"])}
    (job,) = prometheus["scrape_configs"]

    assert set(prometheus["rule_files"]) <= targets
    assert Path(job["authorization"]["credentials_file"]).name in SERVICES["prometheus"]["secrets"]
    assert job["static_configs"] == [{"targets": ["dashboard:8787"]}]
    assert "8787" in SERVICES["dashboard"]["command"]
    mounted = {target for _, target in mounts(SERVICES["grafana"])}
    assert provider["providers"][0]["options"]["path"] in mounted
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(Path(home).parent) in mounted
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", OURS)
def test_commands_and_options_exist(name: str) -> None:
    subcommand, *arguments = outrider_call(SERVICES[name]["command"])
    command = main.get_command(click.Context(main), subcommand)
    assert command, f"outrider has no command {subcommand}"
    # Parsed, not run: an unknown option or a value of the wrong type raises here.
    command.make_context(subcommand, [resolved(each) for each in arguments])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_with_a_value_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis://:hush@valkey:6379/0")
    environment = {key: resolved(value) for key, value in SERVICES[name]["environment"].items()}
    for key, value in environment.items():
        monkeypatch.setenv(key, str(secret) if key.endswith("_FILE") else value)
    monkeypatch.setenv("OUTRIDER_CONFIG", str(ROOT / "examples/fleet/outrider.toml"))

    found = settings_module.load()

    assert "OUTRIDER_REDIS_URL_FILE" in environment
    assert found.redis_url
    assert found.redis_url.get_secret_value() == secret.read_text()
    assert found.host == environment["OUTRIDER_HOST"]


def test_variables_of_the_image_and_the_entry_are_read_by_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = (DOCKER / "Dockerfile").read_text("utf-8") + (DOCKER / "entry.sh").read_text("utf-8")
    found = set(re.findall(r"\bOUTRIDER_[A-Z_]*[A-Z]\b", sources))
    for variable in found:
        monkeypatch.setenv(variable, "x")

    assert found >= {"OUTRIDER_DATA_DIR", "OUTRIDER_FLOWER_PASSWORD", "OUTRIDER_DASHBOARD_TOKEN"}
    assert list(variables.unknown(Settings.model_fields)) == []


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_refers_to_is_declared(name: str) -> None:
    service = SERVICES[name]
    named = [source for source, _ in mounts(service) if not source.startswith((".", "/"))]
    shared = [str(service.get(key, "")).removeprefix("service:") for key in ("pid", "network_mode")]

    assert set(named) <= set(COMPOSE["volumes"])
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    assert {*service.get("depends_on", ()), *filter(None, shared)} <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_files_mounted_from_the_repository_exist(name: str) -> None:
    files = [source for source, _ in mounts(SERVICES[name]) if source.startswith(".")]

    assert [source for source in files if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_checked_restarted_and_confined(name: str) -> None:
    service = SERVICES[name]

    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["user"] not in ("root", "0")


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_loopback(name: str) -> None:
    ports = SERVICES[name].get("ports", ())

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment(name: str) -> None:
    secret = re.compile(r"PASSWORD$|TOKEN$|URL$")

    assert [key for key in SERVICES[name].get("environment", {}) if secret.search(key)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_files_of_secrets_are_mounted_where_they_are_looked_for(name: str) -> None:
    service = SERVICES[name]
    files = [value for key, value in service.get("environment", {}).items() if "_FILE" in key]

    assert {Path(file).name for file in files} <= set(service["secrets"])
    assert {str(Path(file).parent) for file in files} <= {"/run/secrets"}


def test_dependencies_wait_for_health() -> None:
    conditions = {
        each["condition"]
        for service in SERVICES.values()
        for each in service.get("depends_on", {}).values()
    }

    assert conditions == {"service_healthy"}


def test_the_worker_can_reach_and_measure_the_bots() -> None:
    worker, bots = SERVICES["worker"], SERVICES["bots"]

    assert worker["pid"] == "service:bots"
    assert set(mounts(worker)) >= {("state", "/data")} <= set(mounts(bots))
    assert worker["environment"]["OUTRIDER_HOST"] == bots["environment"]["OUTRIDER_HOST"]
    # `fleet` would be taken for the rows that belong to no host.
    assert resolved(worker["environment"]["OUTRIDER_HOST"]) != keys.FLEET


def test_copied_files_exist_and_are_let_into_the_build() -> None:
    allowed = [
        line[1:]
        for line in (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]

    assert copied()
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    assert [
        source for source in copied() if not any(fnmatch.fnmatch(source, each) for each in allowed)
    ] == []


def test_the_image_has_what_the_package_is_built_from() -> None:
    linked = [path.name for path in (ROOT / "outrider").iterdir() if path.is_symlink()]

    assert {"outrider", "pyproject.toml", "README.md", "LICENSE", *linked} <= set(copied())


def test_scripts_named_in_commands_are_in_the_image() -> None:
    words = [
        word
        for name in OURS
        for word in (*SERVICES[name]["command"], *SERVICES[name]["healthcheck"]["test"])
    ]
    named = {word.removeprefix("/opt/") for word in words if word.startswith("/opt/docker/")}

    assert named >= {"docker/again.sh", "docker/healthy.py"}
    assert named <= set(copied())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.name))
def test_scripts_parse(script: Path) -> None:
    shell = script.read_text("utf-8").splitlines()[0].rpartition("/")[2].split()[-1]

    subprocess.run([shell, "-n", str(script)], check=True)


def test_secrets_are_made_once_and_only_their_owner_enters(tmp_path: Path) -> None:
    script = shutil.copy(DOCKER / "secrets.sh", tmp_path)
    subprocess.run(["sh", script], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    first = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    subprocess.run(["sh", script], check=True, capture_output=True)
    declared = {Path(each["file"]).name for each in COMPOSE["secrets"].values()}

    assert declared == set(first)
    assert first == {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first["redis_url"] == f"redis://:{first['redis_password']}@valkey:6379/0"
    assert Settings(redis_url=first["redis_url"]).redis_url
    assert len({first[name] for name in declared}) == len(declared)


def test_secrets_are_kept_out_of_git() -> None:
    assert (DOCKER / "secrets/.gitignore").read_text("utf-8").split() == ["*", "!.gitignore"]


def test_the_entry_takes_secrets_that_are_declared() -> None:
    taken = re.findall(
        r"^take (\w+) (\w+)$", (DOCKER / "entry.sh").read_text("utf-8"), re.MULTILINE
    )

    assert taken
    assert {secret for _, secret in taken} <= set(COMPOSE["secrets"])


@pytest.fixture
def impatient(tmp_path: Path) -> dict[str, str]:
    """An environment whose ``sleep`` does not."""
    fake = tmp_path / "bin" / "sleep"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    return {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}


def again(script: str, env: dict[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    command = ["sh", str(DOCKER / "again.sh"), "sh", "-c", script]
    return subprocess.Popen(command, env=env, cwd=cwd, stderr=subprocess.DEVNULL)


def test_a_supervisor_that_ends_by_accident_is_started_again(
    impatient: dict[str, str], tmp_path: Path
) -> None:
    # Ends with 1 until it was started three times, then with 2: settings that can't work.
    script = 'echo x >>runs; [ "$(wc -l <runs)" -lt 3 ] || exit 2; kill -KILL $$'

    assert again(script, impatient, tmp_path).wait(20) == 2
    assert (tmp_path / "runs").read_text() == "x\nx\nx\n"


def test_a_supervisor_that_is_told_to_stop_is_not_started_again(
    impatient: dict[str, str], tmp_path: Path
) -> None:
    script = "trap 'echo stopped >>runs; exit 0' TERM; echo x >>runs; while :; do wait; done"
    running = again(script, impatient, tmp_path)
    deadline = time.monotonic() + 20
    while not (tmp_path / "runs").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)

    assert running.wait(20) == 0
    assert (tmp_path / "runs").read_text() == "x\nstopped\n"


@pytest.fixture
def healthy() -> Any:
    """The image's health check as a module."""
    spec = importlib.util.spec_from_file_location("healthy", DOCKER / "healthy.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _here(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_HOST", "alpha")
    monkeypatch.setenv("OUTRIDER_DATA_DIR", str(tmp_path))


def test_each_part_has_its_own_health_check(healthy: Any) -> None:
    checked = {name: SERVICES[name]["healthcheck"]["test"][-1] for name in OURS}

    assert {name: name for name in OURS} == checked
    assert set(OURS) == set(healthy.CHECKS)
    assert healthy.main(["nonsense"]) == 2


@pytest.mark.usefixtures("_here")
def test_a_worker_is_healthy_while_its_heartbeat_comes(healthy: Any, valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        assert healthy.main(["worker"]) == 1
        client.zadd(keys.HOSTS, {"alpha": time.time() - 2, "beta": time.time()})
        assert healthy.main(["worker"]) == 0
        client.zadd(keys.HOSTS, {"alpha": time.time() - 60})
        assert healthy.main(["worker"]) == 1


@pytest.mark.usefixtures("_here")
def test_beat_is_healthy_while_the_lease_is_held(healthy: Any, valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        assert healthy.main(["beat"]) == 1
        client.set(keys.LEASE, "somebody", px=60_000)
        assert healthy.main(["beat"]) == 0


@pytest.mark.usefixtures("_here")
def test_bots_are_unhealthy_without_a_supervisor(
    healthy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert healthy.main(["bots"]) == 1
    assert "no supervisor answers" in capsys.readouterr().err


@pytest.mark.usefixtures("_here")
def test_a_redis_that_is_away_is_said_without_its_password(
    healthy: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", "redis://:hush@127.0.0.1:9/0")

    assert healthy.main(["beat"]) == 1
    assert "redis://***@127.0.0.1:9/0" in (said := capsys.readouterr().err)
    assert "hush" not in said
