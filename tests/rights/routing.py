"""The branches of the edges' own code: what a table of expectations must have rows for."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

ABOUT_THE_PATH = ("parts", "call.segments", "rest in")


def branches(module: ModuleType) -> set[str]:
    """Every `case` and every `if` that asks for a path, as it stands in the code of a module of routes."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.match_case):
            guard = f" if {ast.unparse(node.guard)}" if node.guard else ""
            found.add(ast.unparse(node.pattern) + guard)
        elif isinstance(node, ast.If):
            test = ast.unparse(node.test)
            if any(word in test for word in ABOUT_THE_PATH):
                found.add(test)
    return found
