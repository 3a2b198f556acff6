from __future__ import annotations

import sys
from pathlib import Path

import pytest

import panda_streams
from panda_streams.embedded.procfile import children_environment, find_procfile, read_procfile
from panda_streams.errors import BadInput

OWN = Path(panda_streams.__file__).parents[1] / "Procfile"


def test_the_procfile_of_the_current_directory_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_procfile() == OWN

    Path("Procfile").write_text("feed: exec panda feed\n")

    assert find_procfile() == Path("Procfile")


def test_every_line_of_the_project_s_procfile_is_a_program(tmp_path: Path) -> None:
    programs = read_procfile(OWN, {"X": "1"}, tmp_path)

    assert {program.name for program in programs} >= {"feed", "brain", "paper", "gateway"}
    assert [program.name for program in programs if program.finishes] == ["feed"]
    assert {program.log for program in programs} == {tmp_path / f"{program.name}.log" for program in programs}
    # Without it the shell would stay between, and take the signals that are meant for the process.
    assert all("exec " in program.command for program in programs)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no process"),
        ("# only a comment\n", "names no process"),
        ("a: exec x\na: exec y\n", "unique"),
        ("kafka: exec x\n", "embedded server"),
    ],
)
def test_a_procfile_that_makes_no_sense_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "Procfile"
    path.write_text(text)

    with pytest.raises(BadInput, match=rf"{path}.*{reason}"):
        read_procfile(path, {}, tmp_path)


def test_a_procfile_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        read_procfile(tmp_path / "nowhere", {}, tmp_path)


def test_children_find_the_commands_of_this_python_and_take_no_account_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKER_NAMESPACE", "zerodha")
    monkeypatch.setenv("PANDA_WORLD", "live")
    monkeypatch.setenv("OTHER", "stays")

    env = children_environment({"PANDA_WORLD": "sim"})

    assert env["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert (env["PANDA_WORLD"], env["OTHER"]) == ("sim", "stays")
    assert "BROKER_NAMESPACE" not in env
