"""Starts Python bots in milliseconds, as forks of a process that has imported their libraries.

A bot's start is nearly all imports: half a second for a web client, an ORM and a validator, and the
same half second again for each instance and each restart. A zygote pays it once. After Android's
zygote, and multiprocessing's forkserver with its preload list, of which it is a stricter kin::

    supervisor ── control socket ── zygote          imports, freezes its heap, stays single-threaded
        │                             └─ midwife    forks a spare or several, and exits
        ├── socket ── spare           orphaned by the midwife, so that the supervisor, a subreaper,
        │                             is its parent; waits for one order
        └── bot                       a spare that got its order

The parts: ``launcher`` chooses a zygote for a spec, ``handle`` is the supervisor's end of one,
``server`` its own main loop, ``preload`` what it imports, ``child`` how a spare becomes a bot, and
``watch`` notices that the code on disk is newer.

Why a midwife: only a parent learns how a process ended, and a zygote may be replaced at any time.
clone(2) has CLONE_PARENT for it, but no way that runs the C library's fork handlers.
Why a spare: it takes the fork, the midwife's end and the kernel's copying of page tables out of the
time that anybody waits. Those beyond the first are made on demand, many by one midwife.

What is imported: never the bot's own code, unless it is declared in ``preload``. The sources of the
entry and of its neighbours are read, not run, and what they import from elsewhere is imported. So
a bot's module still runs once in each process, with its own environment, and is never out of date.
What a library imports of itself at first use is not to be seen there: the first bot of each entry
tells it when it is ready, and a second zygote, booted in the background, has that too.

What was given up. Forks share one seed of str hashes, and one address layout. A library that starts
a thread or opens a socket when it is imported can't be preloaded: it is named, left out, and who
imports it is spawned. numpy's BLAS gets one thread for the same reason. What would change our mind:
an interpreter that starts and imports in ten milliseconds.
"""
