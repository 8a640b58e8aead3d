"""What works with one Python 3.11 and not with another."""

import re
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[2] / "pymta"


@pytest.mark.parametrize("path", sorted(_PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(_PACKAGE)))
def test_no_group_is_repeated_possessively(path: Path) -> None:
    """Before 3.11.5 (Debian 12 has 3.11.2) a group's last round that fails is not taken back: cpython issue 106052."""
    assert not re.search(r"\)(?:[*+?]|\{\d*,?\d*\})\+", path.read_text())
