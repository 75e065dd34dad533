"""JSON that fits a schema, made of given values where they fit and of dice where nothing is given."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

MISSING: Any = object()
"""Nothing is given: any value that fits."""
WORDS = ("red", "round", "small", "left", "cup", "tree", "standing", "wood", "two", "near", "plain", "open")
Schema = Mapping[str, Any]


def fit(schema: Schema, value: Any, random: Random, root: Schema | None = None) -> Any:
    """A JSON value that fits `schema`: `value` cut to it, null or the empty value where it says nothing."""
    root = schema if root is None else root
    schema = resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _one_of(schema["enum"], value, random)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            branch = _branch([resolved(s, root) for s in schema[key]], value, random)
            return fit(branch, value, random, root)
    if "allOf" in schema:
        merged = {k: v for part in schema["allOf"] for k, v in resolved(part, root).items()}
        return fit(merged | {k: v for k, v in schema.items() if k != "allOf"}, value, random, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = _kind(kind, value, random)
    return _MAKERS[kind](schema, value, random, root)


def resolved(schema: Schema, root: Schema) -> Schema:
    """The schema that a `$ref` names."""
    while "$ref" in schema:
        found: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


def allows(schema: Schema, value: Any) -> bool:
    """Whether a value is of a branch's kind."""
    if "const" in schema:
        return bool(schema["const"] == value)
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return any(_is(kind, value) for kind in kinds)


def _is(kind: str, value: Any) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds = {"null": type(None), "boolean": bool, "string": str, "array": list, "object": dict}
    return isinstance(value, kinds[kind])


def _branch(branches: list[Schema], value: Any, random: Random) -> Schema:
    fitting = [b for b in branches if allows(b, value)]
    if value is MISSING:
        return random.choice(branches)
    nothing = [b for b in branches if b.get("type") == "null"]
    return (fitting or nothing or branches)[0]


def _kind(kinds: list[str], value: Any, random: Random) -> str:
    if value is MISSING:
        return random.choice(kinds)
    return next((kind for kind in kinds if _is(kind, value)), "null" if "null" in kinds else kinds[0])


def _one_of(choices: list[Any], value: Any, random: Random) -> Any:
    if value is not MISSING and value in choices:
        return value
    return None if None in choices and value is not MISSING else random.choice(choices)


def _object(schema: Schema, value: Any, random: Random, root: Schema) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {}
    empty = MISSING if value is MISSING else None
    properties: Schema = schema.get("properties", {})
    return {name: fit(part, given.get(name, empty), random, root) for name, part in properties.items()}


def _array(schema: Schema, value: Any, random: Random, root: Schema) -> list[Any]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", 8)
    if value is MISSING:
        given: list[Any] = [MISSING] * random.randint(least, max(least, min(most, 3)))
    else:
        given = list(value)[:most] if isinstance(value, list) else []
    given += [MISSING] * (least - len(given))
    return [fit(schema.get("items", {}), item, random, root) for item in given]


def _string(schema: Schema, value: Any, random: Random, root: Schema) -> str:
    text = value if isinstance(value, str) else ""
    if value is MISSING:
        text = " ".join(random.choices(WORDS, k=random.randint(1, 4)))
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1 << 20)
    while len(text) < least:
        text += random.choice("abcdefgh")
    return str(text[:most])


def _integer(schema: Schema, value: Any, random: Random, root: Schema) -> int:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)
    return random.randint(int(low), int(high)) if not _is("number", value) else min(max(int(value), low), high)


def _number(schema: Schema, value: Any, random: Random, root: Schema) -> float:
    low, high = schema.get("minimum", 0.0), schema.get("maximum", schema.get("minimum", 0.0) + 1)
    return round(random.uniform(low, high), 3) if not _is("number", value) else min(max(float(value), low), high)


def _boolean(schema: Schema, value: Any, random: Random, root: Schema) -> bool:
    return value if isinstance(value, bool) else random.random() < 0.5


_MAKERS: dict[str, Any] = {
    "object": _object, "array": _array, "string": _string, "integer": _integer, "number": _number,
    "boolean": _boolean, "null": lambda *_: None,
}  # fmt: skip
