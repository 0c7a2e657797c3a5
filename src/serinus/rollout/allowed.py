"""What a field may hold, in words, from its type: one source for every error and every reference."""

from typing import Any

import msgspec


def words_of(kind: Any) -> str:
    """`a number above 0 and at most 1`, `hold, promote, rollback`, `true or false`."""
    return _words(msgspec.inspect.type_info(kind))


def _words(kind: msgspec.inspect.Type) -> str:
    words = "a text"
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            words = _words(inner)
        case msgspec.inspect.BoolType():
            words = "true or false"
        case msgspec.inspect.NoneType():
            words = "null"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            words = _number(kind)
        case msgspec.inspect.EnumType(cls=cls):
            words = ", ".join(str(member.value) for member in cls)
        case msgspec.inspect.VarTupleType(item_type=inner):
            words = f"a list, each {_words(inner)}"
        case msgspec.inspect.UnionType(types=kinds):
            words = " or ".join(_words(one) for one in kinds)
        case msgspec.inspect.StructType(tag=str(tag), fields=fields):
            words = "{" + ", ".join([f"by: {tag}", *(f"{field.name}: ..." for field in fields)]) + "}"
        case msgspec.inspect.StructType(fields=fields):
            inside = (f"{field.name}: {_words(field.type).replace(', ', '|')}" for field in fields)
            words = "{" + ", ".join(inside) + "}"
        case msgspec.inspect.StrType(pattern=str(pattern)):
            words = f"a text like {pattern}"
    return words


def _number(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    bounds = (("above", kind.gt), ("at least", kind.ge), ("below", kind.lt), ("at most", kind.le))
    limits = " and ".join(f"{words} {limit:.10g}" for words, limit in bounds if limit is not None)
    noun = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
    return f"{noun} {limits}".strip()
