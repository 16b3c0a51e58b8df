"""README and docs: each link leads somewhere, each document is reached from the README."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DOCUMENTS = [*TOP.glob("*.md"), *TOP.glob("docs/*.md")]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(TOP).as_posix())
def test_links_lead_to_files(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_readme_leads_to_every_document():
    linked = {(TOP / target).resolve() for target in LINK.findall((TOP / "README.md").read_text())}
    assert set(TOP.glob("docs/*.md")) <= linked
