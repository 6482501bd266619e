"""docs/trust.md promises no more than the tests try."""

from __future__ import annotations

import ast
import re

from tests.trust.helpers.page import PAGE, ROOT, promised, property_files, rows


def test_every_row_names_a_test_that_exists() -> None:
    named = {row.test for row in rows()}
    assert len(named) >= 15
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), name
        if function:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert function in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, name


def test_property_tests_generate_what_the_page_says() -> None:
    files = property_files()
    of_page = [row for row in rows() if "::" not in row.test]
    assert of_page
    for row in of_page:
        assert row.inputs <= sum(files[row.test].values()), row
    missing = set(files) - {row.test for row in of_page}
    assert not missing, f"run `python tests/trust/helpers/page.py --write`: {sorted(missing)}"


def test_every_family_of_inputs_has_its_row() -> None:
    """Each family compares its count with its row while it runs (`Family.close`); here: no family is without one."""
    for path in sorted((ROOT / "tests" / "trust").glob("test_*.py")):
        for name in re.findall(r"tests/trust/test_\w+\.py::\w+", path.read_text(encoding="utf-8")):
            assert promised(name) > 0, f"{name} has no row in docs/trust.md"


def test_the_sum_on_the_page_is_that_of_its_rows() -> None:
    total = sum(row.runs * row.inputs for row in rows() if row.test.startswith("tests/trust/"))
    stated = re.search(r"\*\*([\d,]+) inputs\*\*", PAGE.read_text(encoding="utf-8"))
    assert stated
    assert int(stated.group(1).replace(",", "")) <= total
