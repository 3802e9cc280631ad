"""The documentation's snippets are models, its losses are losses."""

import re
from pathlib import Path

import pytest

from eqsnn.compiler import STAGES, model_from_text
from eqsnn.errors import InputError
from eqsnn.losses import TERMS, Loss, parse_loss

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "language.md").read_text()
LOSSES = (DOCS / "losses.md").read_text()
SNIPPETS = re.findall(r"```eqs\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_every_snippet_of_the_language_page_compiles(snippet):
    model = model_from_text(snippet, "language.md")
    for write in STAGES.values():
        assert write(model)


@pytest.mark.parametrize("text", re.findall(r'loss[= ]"([^"]+)"', LOSSES))
def test_every_loss_of_the_losses_page_is_one(text):
    assert parse_loss(text)


def test_the_losses_page_shows_every_term_with_its_defaults():
    rows = re.findall(r"^\| `([^`]+)` \|", LOSSES.split("## Formulas")[0], re.MULTILINE)
    assert [parse_loss(row) for row in rows] == [Loss.of(kind()) for kind in TERMS.values()]


def test_the_error_on_the_losses_page_is_the_one_a_user_sees():
    shown = re.search(r"```text\n(.*?)\n```", LOSSES, re.DOTALL)
    assert shown is not None
    with pytest.raises(InputError) as caught:
        parse_loss("van_rossum(tau=10)")
    assert str(caught.value) == shown[1]
