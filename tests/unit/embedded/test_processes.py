from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from panda_streams.embedded.processes import ProcessRow, ProcessState, read_processes, write_processes
from panda_streams.identity import Home, World

SIM = World("sim")
ROWS = [
    ProcessRow("kafka", "kafka.Kafka", 12, ProcessState.RUNNING, 0, 1_700_000_000_000, None, "kafka.log"),
    ProcessRow("feed", "exec panda feed", None, ProcessState.FINISHED, 1, 1_700_000_000_000, 0, "feed.log"),
]


def test_rows_are_read_as_they_were_written_while_the_supervisor_lives(tmp_path: Path) -> None:
    write_processes(Home(tmp_path), SIM, os.getpid(), ROWS)

    assert read_processes(Home(tmp_path), SIM) == ROWS


def test_the_rows_of_a_dead_supervisor_say_nothing(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    write_processes(Home(tmp_path), SIM, gone.pid, ROWS)

    assert read_processes(Home(tmp_path), SIM) is None


def test_a_process_that_only_has_a_dead_supervisor_s_number_is_not_taken_for_it(tmp_path: Path) -> None:
    write_processes(Home(tmp_path), SIM, os.getpid(), ROWS)
    [file] = tmp_path.rglob("processes.json")
    os.utime(file, (1_000_000, 1_000_000))

    assert read_processes(Home(tmp_path), SIM) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"supervisor_pid": "x", "processes": []}'])
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    write_processes(Home(tmp_path), SIM, os.getpid(), ROWS)
    [file] = tmp_path.rglob("processes.json")
    file.write_text(text)

    assert read_processes(Home(tmp_path), SIM) is None
