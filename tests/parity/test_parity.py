"""A dozen cases of the matrix: this program and its peer on the same recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from parity_harness.matrix import Case, cases
from parity_harness.program import Result
from parity_harness.session import Session, judge
from parity_harness.worker import run_job

QUICK = [case for case in cases() if case.quick]
#: Seconds for one job of the peer, of which there are two tries.
PEER_LIMIT = 60.0


@pytest.fixture(scope="module")
def session(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Inputs, and the peer in one process for all tests of this module."""
    pytest.importorskip("dcnum", reason="the peer is not installed")
    pytest.importorskip("scipy", reason="recordings are grown with it")
    keep = os.environ.get("CYTOVOX_PARITY_CACHE")
    folder = Path(keep) if keep else tmp_path_factory.mktemp("parity")
    with Session(
        folder.resolve(), shared_data.parent, keep=bool(keep), time_limit=PEER_LIMIT
    ) as session:
        yield session


@pytest.mark.peer
@pytest.mark.timeout(2 * PEER_LIMIT + 120)
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_same_file_as_the_peer(case: Case, session: Session, tmp_path: Path) -> None:
    path_in = session.inputs.get(case.recording)
    theirs = session.peer.run(path_in, dict(case.settings))
    # Basins hold relative paths, so both outputs must lie equally deep.
    path_out = session.peer.folder.parent / "tests" / f"{tmp_path.name}.rtdc"
    path_out.parent.mkdir(exist_ok=True)
    path_out.unlink(missing_ok=True)
    run_job("cytovox", str(path_in), str(path_out), dict(case.settings))
    assert judge(case, path_in, Result(path_out), theirs).differences == ()


def test_matrix_is_large_and_has_no_case_twice() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    assert len(names) >= 60
    assert len(QUICK) >= 12
