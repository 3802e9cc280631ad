"""The documentation's snippets are models."""

import re
from pathlib import Path

import pytest

from eqsnn.compiler import STAGES, model_from_text

PAGE = (Path(__file__).parents[1] / "docs" / "language.md").read_text()
SNIPPETS = re.findall(r"```eqs\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_every_snippet_of_the_language_page_compiles(snippet):
    model = model_from_text(snippet, "language.md")
    for write in STAGES.values():
        assert write(model)
