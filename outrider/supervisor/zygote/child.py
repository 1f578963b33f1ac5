"""How a spare becomes a bot: everything that a fork inherits and a new process would not have.

Taken back: environment, folder, umask, limits, signals, hooks at exit, randomness, what was derived
from the environment. Kept on purpose: imported modules, with what they set up for any process.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import random
import resource
import signal
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import setproctitle

from outrider.metrics import frame
from outrider.supervisor import entry
from outrider.supervisor.zygote import preload, wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from outrider.supervisor.zygote.wire import Message

# Hooks at exit that serve whatever process runs them, in the order of their registration. Another's
# may remove a folder or stop a server that all forks use.
_HOOKS_KEPT = (
    ("logging", "shutdown"),
    ("multiprocessing.util", "_exit_function"),
    ("outrider.sdk.bot", "_last_words"),
)
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by any new Python
_COMM_BYTES = 15
# SeedSequence() draws 128 bits from the system; a seed that somebody chose is rarely as long.
_DRAWN_FROM = 1 << 64

_unseeded: weakref.WeakSet[random.Random] = weakref.WeakSet()
_generators: list[Any] = []  # numpy's


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the supervisor's children inherit, before any library could change it."""

    umask: int
    limits: dict[int, tuple[int, int]]

    @classmethod
    def taken(cls) -> Inherited:
        """Return the present state."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(umask, {limit: resource.getrlimit(limit) for limit in _LIMITS})

    def restore(self) -> None:
        """Undo what imports have changed."""
        os.umask(self.umask)
        for limit, values in self.limits.items():
            if resource.getrlimit(limit) != values:
                resource.setrlimit(limit, values)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Note while modules are imported which generators drew their seeds from the system."""
    seed = random.Random.seed

    def noting_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        (_unseeded.add if a is None else _unseeded.discard)(self)
        seed(self, a, version)

    random.Random.seed = noting_seed  # type: ignore[method-assign]
    try:
        yield
    finally:
        random.Random.seed = seed  # type: ignore[method-assign]
    if numpy := sys.modules.get("numpy.random"):
        _generators.extend(each for each in gc.get_objects() if isinstance(each, numpy.Generator))


def clean(inherited: Inherited) -> None:
    """Take back in the zygote, once for all its forks, what its imports left in the process."""
    inherited.restore()
    _default_signals()
    _forget_hooks()
    _touch()  # what is imported or cached at first use


def prepare(*, touch: bool) -> None:
    """Do in a spare what needs no order; ``touch`` when nobody waits for it yet."""
    setproctitle.setproctitle(f"outrider: spare ({os.getcwd()})")  # noqa: PTH109 - text
    _reseed()
    gc.enable()
    if touch:
        _touch()


def become(order: Message, to: socket.socket) -> None:
    """Turn this spare into a bot and run it. Returns when it returns, raises what it raises."""
    os.setsid()  # not before: it tells a spare that nobody took from a bot
    _take_output(order["output"])
    _take_environment(order["env"])
    time.tzset()
    tempfile.tempdir = None  # found anew from TMPDIR
    if order["cwd"]:
        os.chdir(order["cwd"])
    setproctitle.setproctitle(f"outrider: {order['name']} ({order['entry']})")
    setproctitle.setthreadtitle(order["name"][:_COMM_BYTES])
    sys.argv = [entry.__file__, order["entry"]]
    _sdk().begin_anew()  # one made while importing had no supervisor to talk to
    if order["learn"]:
        _tell_imports(to, order["entry"])
    else:
        to.close()
    entry.run(order["entry"])


def _tell_imports(to: socket.socket, name: str) -> None:
    """Tell the supervisor, when the bot is ready, what it has imported that no source showed.

    Libraries import parts of themselves at first use. The next zygote has them.
    """
    before = set(sys.modules)

    def tell() -> None:
        later = [module for module in sys.modules if module not in before]
        top, folder = name.partition(":")[0].partition(".")[0], Path.cwd()
        mine: dict[str, bool] = {}
        for first in {module.partition(".")[0] for module in later}:
            mine[first] = preload.is_own(first, top, folder)
        with to, contextlib.suppress(OSError):  # the supervisor was replaced meanwhile
            others = [module for module in later if not mine[module.partition(".")[0]]]
            wire.send(to, {"imported": others})

    _sdk().AT_READY.append(tell)


def _sdk() -> Any:
    """Return what bots import of us; this room knows it by name only, as any other preload."""
    return sys.modules["outrider.sdk.bot"]


def _take_environment(env: dict[str, str]) -> None:
    for name in os.environ.keys() - env.keys():
        del os.environ[name]
    for name, value in env.items() - os.environ.items():
        os.environ[name] = value


def _take_output(output: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _touch() -> None:
    """Do once what every bot begins with: the first write to a page makes the kernel copy it."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    frame.decode(frame.encode(frame.Frame("spare", os.getpid(), 0.0, ready=True)))


def _default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        usual: Any = signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL
        if number == signal.SIGINT:
            usual = signal.default_int_handler
        if signal.getsignal(number) not in (usual, None):
            signal.signal(number, usual)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _forget_hooks() -> None:
    """Drop the hooks at exit of the zygote's imports, but for those that any process needs."""
    atexit._clear()  # noqa: SLF001 - there is no other way to drop what others registered
    finalize: Any = weakref.finalize
    finalize._registry.clear()  # noqa: SLF001 - those of temporary folders above all
    if finalize._registered_with_atexit:  # noqa: SLF001 - it won't register a second time
        atexit.register(finalize._exitfunc)  # noqa: SLF001
    for module, name in _HOOKS_KEPT:
        if hook := getattr(sys.modules.get(module), name, None):
            atexit.register(hook)


def _reseed() -> None:
    """Draw anew what was drawn while importing; what was seeded on purpose stays as it is."""
    random.seed()
    for generator in _unseeded:
        generator.seed()
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()
    for generator in _generators:
        bits = generator.bit_generator
        entropy = getattr(bits.seed_seq, "entropy", None)
        if isinstance(entropy, int) and entropy >= _DRAWN_FROM:
            bits.state = type(bits)().state
    if multiprocessing := sys.modules.get("multiprocessing.process"):
        multiprocessing.current_process().authkey = os.urandom(32)
