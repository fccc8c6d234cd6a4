"""No thread meets a type of which msgspec has found out only half."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A type is found out once in a process, so there are many, and threads change places in the middle of it.
PROGRAM = """
import sys, threading
import msgspec
from storage import decoding

THREADS = 4
sys.setswitchinterval(1e-6)

def kind():
    inner = msgspec.defstruct("Inner", [("a", int, 0), ("b", str, ""), ("c", dict[str, int], {{}})])
    fields = [("first", int), ("names", list[str]), ("one", inner), ("many", dict[str, inner])]
    return msgspec.defstruct("Outer", fields)

row = {{"first": 1, "names": ["x"], "one": {{}}, "many": {{"y": {{}}}}}}
json, msgpack = msgspec.json.encode(row), msgspec.msgpack.encode(row)
for _ in range(300):
    outer, start, found = kind(), threading.Barrier(THREADS), []

    def decode():
        start.wait()
        found.append({expression}.many["y"].c)

    threads = [threading.Thread(target=decode) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{{}}] * THREADS, found
"""


@pytest.mark.parametrize(
    "expression",
    [
        "decoding.from_row(row, outer)",
        "decoding.json_decoder(outer).decode(json)",
        "decoding.msgpack_decoder(outer).decode(msgpack)",
    ],
)
def test_a_type_is_used_for_the_first_time_in_many_threads_at_once(expression: str) -> None:
    program = PROGRAM.format(expression=expression)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def _decodes_by_itself(node: ast.AST) -> bool:
    """Whether msgspec is asked to decode as a type that it may not know yet."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    called = ast.unparse(node.func)
    if called in {"msgspec.json.decode", "msgspec.msgpack.decode"}:
        return any(keyword.arg == "type" for keyword in node.keywords)
    return called in {"msgspec.convert", "msgspec.json.Decoder", "msgspec.msgpack.Decoder"}


def test_nobody_decodes_records_but_by_decoders_that_know_them() -> None:
    # The configuration is read before there are threads.
    allowed = {ROOT / "storage/decoding.py", ROOT / "proxy/config.py"}
    sources = [path for folder in ("proxy", "storage") for path in (ROOT / folder).rglob("*.py")]
    found = {
        path: [node for node in ast.walk(ast.parse(path.read_text())) if _decodes_by_itself(node)]
        for path in sources
    }
    assert {path for path, calls in found.items() if calls} == allowed
