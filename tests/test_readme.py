"""What the README tells a newcomer to type is accepted as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import eqsnn
from eqsnn.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
MODEL = re.search(r"```eqs\n(.*?)```", README, re.DOTALL)
STEPS = re.findall(r"^python -c '\n([^']*)'$|^(eqsnn [^\n]+)$", README, re.MULTILINE)
COMMANDS = re.findall(r"^eqsnn .+$", README, re.MULTILINE)


def test_the_first_model_is_valid_and_has_something_to_learn():
    assert MODEL is not None
    parameters = eqsnn.loads(MODEL[1]).parameters()
    assert {name for name, p in parameters.items() if p.learned} == {
        "cells.tau_m",
        "cells.v_rest",
        "cells->cells.w",
    }


def test_the_readme_shows_every_command_of_the_first_session():
    assert [command.split()[1] for command in COMMANDS] == [
        "check",
        "simulate",
        "fit",
        "simulate",
        "compare",
    ]


@pytest.mark.slow
def test_the_first_session_works_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert MODEL is not None
    Path("first.eqs").write_text(MODEL[1])
    for script, command in STEPS:
        if script:
            subprocess.run([sys.executable, "-c", script], check=True)
        else:
            assert main(shlex.split(command)[1:]) in (0, 1), capsys.readouterr().err
    assert Path("run/fitted.eqs").exists()
    assert "NMF" in capsys.readouterr().out
