"""Write the pages of docs/ that are made from the code.

python -m scripts.handbook.write            # write them
python -m scripts.handbook.write --check    # exit 1 where one differs from the code
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .commands import commands_page
from .pages import errors_page, settings_page
from .schemas import SCHEMAS, schema_text, schemas_page

ROOT = Path(__file__).resolve().parents[2]
PAGES: dict[str, Callable[[], str]] = {
    "docs/errors.md": errors_page,
    "docs/commands.md": commands_page,
    "docs/settings.md": settings_page,
    "docs/schemas.md": schemas_page,
    **{f"docs/schemas/{name}.schema.json": partial(schema_text, name) for name in SCHEMAS},
}


def differing() -> list[str]:
    """The pages that are not as the code makes them."""
    return [place for place, make in PAGES.items() if (ROOT / place).read_text(encoding="utf-8") != make()]


def main() -> None:
    """Write every page, or name those that differ."""
    parser = argparse.ArgumentParser(description="Write the pages of docs/ that are made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page differs")
    if parser.parse_args().check:
        if different := differing():
            sys.exit(f"run `python -m scripts.handbook.write`: {', '.join(different)} differ from the code")
        return
    for place, make in PAGES.items():
        (ROOT / place).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / place).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
