"""The snippets of docs/exchange.md, in order, as a reader would run them."""

import re
from pathlib import Path

import pytest

from eqsnn.cli import main

b = pytest.importorskip("brian2")

PAGE = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text()


def test_the_snippets_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    b.start_scope()
    b.prefs.codegen.target = "numpy"
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 3
    found: dict = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/exchange.md", "exec"), found)
    assert len(found["recording"].spike_times) > 20
    assert "NeuronGroup(" in found["script"]
    for command in re.findall(r"```sh\neqsnn (.*?)\n```", PAGE):
        assert main(command.split()) == 0
    assert (tmp_path / "script.py").exists()
