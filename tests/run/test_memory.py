"""Limits of memory, from wherever they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytovox.run import memory


def pretend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str, files: dict[str, str]
) -> None:
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN_CGROUP", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "5000000\n"}, 5_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "3000000\n", "a/memory.max": "5000000\n"}, 3_000_000),
        ("0::/\n", {"memory.max": "7000000\n"}, 7_000_000),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("0::/gone\n", {}, None),
        ("4:memory:/job\n1:cpu:/\n", {"memory/job/memory.limit_in_bytes": "6000000"}, 6_000_000),
        (
            "4:memory:/job\n",
            {"memory/job/memory.limit_in_bytes": "9223372036854771712"},
            None,
        ),
    ],
)
def test_the_limit_of_a_job(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    files: dict[str, str],
    limit: int | None,
) -> None:
    pretend(monkeypatch, tmp_path, own, files)
    found = [one.size for one in memory.memory_limits() if "cgroup" in one.source]
    assert found == ([] if limit is None else [limit])
    if limit is not None:
        allowed = memory.memory_allowed()
        assert allowed is not None
        assert allowed.size == limit


def test_the_limit_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4_000_000, 4_000_000))
    allowed = memory.memory_allowed()
    assert allowed is not None
    assert allowed.size == 4_000_000
    assert "ulimit" in allowed.source
