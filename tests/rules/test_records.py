"""Records can hold nothing that points back to them: the collector of cycles does not know them (`gc=False`)."""

from __future__ import annotations

import gc
import importlib
import pkgutil
from collections.abc import Iterator

import msgspec
import msgspec.inspect as kinds
import pytest

import proxy
import storage
from storage.records import Content, PackageFormat, PackageRef, Record

PLAIN = (
    kinds.StrType,
    kinds.IntType,
    kinds.BoolType,
    kinds.BytesType,
    kinds.NoneType,
    kinds.EnumType,
    kinds.StructType,
)
JSON = {"manifest", "members"}  # fields with a decoded document, which is a tree


def records(kind: type[Record]) -> Iterator[type[Record]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from records(subclass)


def every_record() -> list[type[Record]]:
    for package in (proxy, storage):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return sorted(set(records(Record)), key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


def leaves(kind: kinds.Type) -> Iterator[kinds.Type]:
    """What a field is made of, through unions, tuples, lists and dictionaries."""
    match kind:
        case kinds.UnionType(types=types):
            parts = types
        case kinds.VarTupleType(item_type=item) | kinds.ListType(item_type=item):
            parts = (item,)
        case kinds.DictType(key_type=key, value_type=value):
            parts = (key, value)
        case _:
            yield kind
            return
    for part in parts:
        yield from leaves(part)


@pytest.mark.parametrize("record", every_record(), ids=lambda kind: kind.__qualname__)
def test_a_record_is_made_of_texts_numbers_and_records(record: type[Record]) -> None:
    assert not record.__struct_config__.gc
    info = kinds.type_info(record)
    assert isinstance(info, kinds.StructType)
    for field in info.fields:
        for leaf in leaves(field.type):
            known = isinstance(leaf, PLAIN) or (
                field.name in JSON and isinstance(leaf, kinds.AnyType)
            )
            assert known, f"{field.name}: {leaf}"
            if isinstance(leaf, kinds.StructType):
                assert issubclass(leaf.cls, Record)


def test_an_index_in_memory_is_nothing_to_the_collector() -> None:
    plain = msgspec.msgpack.encode([Content(metadata=b"{}")])
    (content,) = msgspec.msgpack.decode(plain, type=list[Content])
    assert not gc.is_tracked(content)
    assert not gc.is_tracked(PackageRef(format=PackageFormat.NPM, name="anvil"))
