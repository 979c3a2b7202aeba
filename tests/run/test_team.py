"""The team of processes: a worker that dies costs nothing, and a unit that kills is named."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing as mp
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cytovox.errors import InterruptedRunError, StageError, UsageError
from cytovox.run.children import mp_spawn
from cytovox.run.team import LostWorkerError, Team
from cytovox.run.team_worker import WorkerTraceback
from support.processes import alive, wait_until

HERE = Path(__file__).parent
posix_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


@pytest.fixture(autouse=True)
def _units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@contextlib.contextmanager
def team_of(what: str, size: int = 2, **kwargs: Any) -> Iterator[Team]:
    import team_units

    team = Team(functools.partial(team_units.set_up, what), size, name=f"test-{what}", **kwargs)
    try:
        yield team
    finally:
        team.close()
    assert not any(f"test-{what}" in child.name for child in mp.active_children())


def split(unit: tuple[int, int], at: int) -> list[tuple[int, int]]:
    """Return the culprit, and what comes behind it."""
    if at < 0:
        return [unit]
    return [(at, at + 1), (at + 1, unit[1])] if at + 1 < unit[1] else [(at, at + 1)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_results_in_the_order_of_the_units(size: int) -> None:
    with team_of("square", size) as team:
        assert list(team.run(range(50))) == [i * i for i in range(50)]
        workers = [worker.pid for worker in team.workers]
        assert list(team.run([])) == []
        assert list(team.run(iter([7]))) == [49]
        assert [worker.pid for worker in team.workers] == workers
        assert len(workers) == size


def test_a_slow_unit_delays_what_is_behind_it_but_not_the_other_worker() -> None:
    taken = []

    def units() -> Iterator[float]:
        for seconds in [0.6, *[0.0] * 20]:
            taken.append(seconds)
            yield seconds

    with team_of("slow") as team:
        results = team.run(units())
        assert next(results) == 0.6
        assert len(taken) == 8  # a bounded number is begun before an early one has ended
        assert list(results) == [0.0] * 20


def test_units_that_do_not_wait_for_each_other() -> None:
    with team_of("slow") as team:
        ended = [unit for unit, _ in team.run_each([0.6, *[0.0] * 20])]
    assert ended[-1] == 0.6
    with team_of("angry") as team:
        results = dict(team.run_each([(0, 5), (10, 15), (15, 20), (20, 25)]))
    assert [results[0, 5], results[20, 25]] == [(0, 5), (20, 25)]
    assert {str(results[10, 15]), str(results[15, 20])} == {"not 13", "not 17"}


@posix_kill
def test_a_unit_over_which_workers_die_stops_no_other() -> None:
    with team_of("deadly", attempts=1) as team:
        results = dict(team.run_each([(0, 10), (10, 20), (20, 30)]))
    error = results.pop((10, 20))
    assert isinstance(error, LostWorkerError)
    assert "(exit code 7)" in str(error)
    assert results == {(0, 10): (0, 10), (20, 30): (20, 30)}


@posix_kill
def test_asked_to_stop_what_is_begun_ends_and_no_more_is_begun() -> None:
    begun: list[float] = []
    ended: list[tuple[float, str]] = []

    def listen(unit: float) -> None:
        begun.append(unit)
        if len(begun) == 2:
            team.stop()

    with team_of("gentle", listener=listen) as team:
        with pytest.raises(InterruptedRunError, match="before all was done"):
            ended.extend(team.run_each([60.0, 61.0, 62.0]))
        assert sorted(ended) == [(60.0, "stopped"), (61.0, "stopped")]
    assert sorted(begun) == [60.0, 61.0]


def test_no_more_workers_than_units() -> None:
    with team_of("who", 3) as team:
        (pid,) = set(team.run([0]))
        assert [worker.pid for worker in team.workers] == [pid] != [os.getpid()]


def test_shared_memory_is_seen_by_all() -> None:
    array = mp_spawn.RawArray("q", 20)
    with team_of("writes", shared=(array,)) as team:
        assert list(team.run(range(20))) == [None] * 20
    assert list(array) == [i * i for i in range(20)]


def test_an_exception_comes_whole() -> None:
    units = [(i, i + 5) for i in range(0, 40, 5)]
    with team_of("angry") as team:
        results = team.run(units)
        assert [next(results), next(results)] == units[:2]
        with pytest.raises(ArithmeticError, match="not 13") as info:  # not 17, if that came first
            next(results)
        trace = info.value.__cause__
        assert isinstance(trace, WorkerTraceback)
        assert (trace.kind, trace.text, trace.at, trace.unit) == (
            "ArithmeticError",
            "not 13",
            13,
            (10, 15),
        )
        assert "team_units.py" in str(trace)
        assert 'raise ArithmeticError(f"not {part}")' in trace.trace
        assert list(team.run([(0, 2)])) == [(0, 2)]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("unknown", "LocalError: it is local"),
        ("leaves", "SystemExit: 3"),
        ("peculiar", "pickle"),
        ("unfit", "no such thing"),
    ],
)
def test_odd_exceptions(what: str, text: str) -> None:
    with team_of(what) as team, pytest.raises(Exception, match=text) as info:
        list(team.run([1, 2]))
    assert isinstance(info.value.__cause__, WorkerTraceback)
    assert info.value.__cause__.unit == (None if what == "unfit" else 1)


def test_what_cannot_be_sent_is_reported_at_once() -> None:
    with pytest.raises(UsageError, match="cannot be sent to a worker process"):
        Team(lambda: None, 2)


@posix_kill
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random(seed: int) -> None:
    chance = random.Random(seed)
    over = threading.Event()

    def kill() -> None:
        if over.wait(chance.uniform(0, 0.5)):
            return
        workers = list(team.workers)
        for worker in chance.sample(workers, chance.randint(1, len(workers))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)

    array = mp_spawn.RawArray("q", 300)
    # Each of two workers is killed once at most, perhaps one after the other over the same unit.
    with team_of("marks", split=split, shared=(array,), attempts=3) as team:
        list(team.run([(0, 1), (1, 2)]))
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            done = list(team.run((i, i + 5) for i in range(0, 300, 5)))
        finally:
            over.set()
            killer.join()
    assert list(array) == list(range(300))
    assert done == sorted(done)


@posix_kill
def test_what_kills_once_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with team_of("frail", split=split, shared=(str(tmp_path),)) as team:
        done = list(team.run([(0, 5), (5, 10)]))
    assert sorted(i for unit in done for i in range(*unit))[-1] == 9
    assert done == sorted(done)
    assert len(list(tmp_path.iterdir())) == 4
    assert "(exit code -9, as when memory is short), working on (3, 4)" in caplog.text


def test_what_kills_twice_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with team_of("deadly", split=split) as team:
        results = team.run([(0, 10), (10, 20), (20, 30)])
        assert next(results) == (0, 10)
        with pytest.raises(LostWorkerError, match=r"\(exit code 7\), working on \(13, 14\)") as it:
            list(results)
        assert it.value.unit == (13, 14)
        assert "so did 1 before" in str(it.value)
        assert len(caplog.messages) == 1
        assert list(team.run([(14, 20)])) == [(14, 20)]


@posix_kill
def test_a_unit_that_does_not_report_where_it_is() -> None:
    with team_of("silent") as team, pytest.raises(LostWorkerError, match="working on 3") as info:
        list(team.run(range(9)))
    assert info.value.unit == 3


@posix_kill
def test_what_dies_when_it_is_idle_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    with team_of("square") as team:
        list(team.run(range(9)))
        for worker in team.workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.process.join(60)
        assert list(team.run(range(9))) == [i * i for i in range(9)]
    # One of them may not have been seen to be ready.
    assert caplog.text.count("died (exit code -9") == 2
    assert "while it had nothing to do" in caplog.text


@posix_kill
def test_workers_that_cannot_begin(caplog: pytest.LogCaptureFixture) -> None:
    with team_of("dies") as team, pytest.raises(LostWorkerError, match="before it could work"):
        list(team.run([1]))
    assert caplog.text.count("another one takes its place") == 5


@posix_kill
def test_what_hangs_once_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with team_of("hang", shared=(str(tmp_path),), limit=5) as team:
        assert list(team.run(range(5))) == list(range(5))
    assert "was killed since it took longer than 5 s, working on 2" in caplog.text


@posix_kill
def test_what_hangs_twice_is_named() -> None:
    with team_of("hang", shared=("",), limit=5) as team:
        results = team.run(range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(LostWorkerError, match="working on 2; so did 1 before") as info:
            next(results)
    assert "CYTOVOX_UNIT_TIMEOUT" in str(info.value)


def test_the_limit_is_from_one_beat_to_the_next(caplog: pytest.LogCaptureFixture) -> None:
    with team_of("steady", 1) as team:
        list(team.run([0]))
        team.limit = 2.5
        assert list(team.run([1])) == [1]
    assert not caplog.messages


def test_interrupted_from_another_thread() -> None:
    with team_of("slow") as team:
        list(team.run([0.0, 0.0]))
        timer = threading.Timer(0.5, team.interrupt)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(InterruptedRunError, match="stopped while they were working"):
            list(team.run([60.0, 60.0]))
        assert time.monotonic() - begin < 30
        assert not team.workers  # no worker does what is not wanted
        timer.join()


def test_left_early_no_worker_continues() -> None:
    with team_of("slow") as team:
        with contextlib.closing(team.run([0.0, 60.0, 60.0])) as results:
            next(results)
        assert not any(worker.task for worker in team.workers)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_is_left_of_workers_that_have_died() -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with team_of("silent") as team:
        team.start(2)
        before = opened()
        for _ in range(2):
            with pytest.raises(StageError):
                list(team.run([0, 3]))
        list(team.run([0, 1]))
        team.start(2)
        assert opened() == before
    with team_of("silent"):
        before = opened()
        with team_of("square") as team:
            list(team.run([0, 1]))
        assert opened() == before


@posix_kill
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import functools, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "import team_units\n"
        "from cytovox.run.team import Team\n"
        "if __name__ == '__main__':\n"
        "    set_up = functools.partial(team_units.set_up, 'stays')\n"
        "    list(Team(set_up, 2, shared=(sys.argv[1],)).run([1, 2]))\n",
        encoding="utf-8",
    )
    folder = tmp_path / "pids"
    folder.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(folder), str(HERE)]) as parent:
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        parent.kill()
    wait_until(lambda: not any(alive(int(path.name)) for path in folder.iterdir()))
