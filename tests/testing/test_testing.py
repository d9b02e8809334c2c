"""The checks of ``rlrnn.testing`` are documented as they are, need no pytest, and fail in sentences."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlrnn import testing
from rlrnn.errors import CheckError, UserError
from rlrnn.testing import cell, game, strategy, wrapper

CHECKS = [(getattr(testing, name), name) for name in testing.__all__]
LAWS = {"check_cell": cell, "check_game": game, "check_strategy": strategy, "check_wrapper": wrapper}


def test_everything_on_offer_is_there() -> None:
    assert sorted(LAWS) == testing.__all__


@pytest.mark.parametrize(("check", "name"), CHECKS)
def test_the_documentation_of_a_check_names_its_laws_in_order(check: Callable[..., None], name: str) -> None:
    told = str(inspect.getdoc(check)).partition("Laws to leave out, by name:")[2].partition("**")[0]
    assert re.findall(r'"(\w+)"', told) == list(LAWS[name].LAWS)
    assert all(inspect.getdoc(law) for law in LAWS[name].LAWS.values())


@pytest.mark.parametrize(("check", "name"), CHECKS)
def test_the_examples_run(check: Callable[..., None], name: str) -> None:
    (found,) = doctest.DocTestFinder(recurse=False).find(check, name, globs={})
    assert found.examples and doctest.DocTestRunner().run(found).failed == 0


def test_a_check_needs_no_pytest() -> None:
    code = "import rlrnn.testing, sys; sys.exit(bool({'pytest', '_pytest'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_check_raises_is_a_sentence_that_test_runners_take_for_a_failure() -> None:
    assert issubclass(CheckError, UserError) and issubclass(CheckError, AssertionError)
    with pytest.raises(AssertionError):
        testing.check_cell("no_such_cell")


def test_every_sentence_ends_as_one_and_says_how_to_mend_it() -> None:
    sentences = 0
    for path in Path(testing.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "fail":
                continue
            said = ast.unparse(node.args[0])[:-1]
            sentences += 1
            assert said.endswith(".") and re.search(r"[:;] ", said), said
    assert sentences > 100
