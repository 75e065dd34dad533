"""JSON schemas of replies, derived from `slvr_data.schema`, and replies read against them.

The schemas keep to what every server's grammar engine takes: no references, every string and list bounded,
every property required, *unknown* as null. A bound is not only tidy: without one a model may write until it is
cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from slvr_data.annotators.served.words import plain
from slvr_data.requests.failures import BadReplyError

Schema = dict[str, Any]
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.S | re.I)
_SHORT = 80
"""Characters of a value that evidence shows."""


def strict_schema(
    model: type[BaseModel],
    words: Mapping[str, Sequence[str]],
    items: Mapping[str, int],
    characters: Mapping[str, int],
    without: frozenset[str],
) -> Schema:
    """The bounded schema of a record.

    Fields are named by their path, e.g. "spatial.relations.kind" (lists add nothing to it).

    Args:
        model: the record.
        words: closed lists of words.
        items: most items of each list.
        characters: most characters of each open string.
        without: fields that are not asked for.

    Raises:
        KeyError: a list or an open string has no bound.
        TypeError: a field is of a type that replies do not have.
    """
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})

    def strict(node: Mapping[str, Any], path: str) -> Schema:
        if "$ref" in node:
            return strict(definitions[node["$ref"].rsplit("/", 1)[1]], path)
        if "anyOf" in node:
            kinds = [kind for kind in node["anyOf"] if kind != {"type": "null"}]
            if len(kinds) != 1 or len(kinds) == len(node["anyOf"]):
                raise TypeError(f"{path}: {node['anyOf']} is not one type or null")
            return {"anyOf": [strict(kinds[0], path), {"type": "null"}]}
        if node["type"] == "object":
            below = {name: f"{path}.{name}".lstrip(".") for name in node["properties"]}
            asked = {name: sub for name, sub in node["properties"].items() if below[name] not in without}
            return an_object({name: strict(sub, below[name]) for name, sub in asked.items()})
        if node["type"] == "array":
            return {"type": "array", "items": strict(node["items"], path), "maxItems": items[path]}
        if node["type"] != "string":
            raise TypeError(f"{path}: a reply has no {node['type']}")
        if path in words:
            return {"type": "string", "enum": list(words[path])}
        return {"type": "string", "maxLength": characters[path]}

    return strict(whole, "")


def an_object(properties: Schema) -> Schema:
    """An object of these properties, all required, and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_json(text: str) -> Any:
    """The value of a reply: JSON alone, or in one fenced block, as servers without constrained decoding write it.

    Raises:
        BadReplyError: "malformed".
    """
    bare = text.strip().removeprefix("\ufeff").strip()
    if fenced := _FENCED.fullmatch(bare):
        bare = fenced[1]
    try:
        value = json.loads(bare, parse_constant=_no_number)
        bare.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadReplyError("malformed", "it holds half a character (a lone surrogate)") from None
    except RecursionError:
        raise BadReplyError("malformed", "it is nested too deeply") from None
    except ValueError as error:
        if "</think>" in bare or bare.startswith("<think>"):
            words = "it holds the model's thoughts: start the server with --reasoning-parser, or without thinking"
            raise BadReplyError("malformed", words) from None
        raise BadReplyError("malformed", f"not JSON: {error}") from None
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


Tidy = Callable[[str, str], str | None]
"""(path, text) -> the text as it is kept, None for what says nothing."""


def fitted(value: Any, schema: Schema, tidy: Tidy, path: str = "") -> Any:
    """A reply's value, held against its schema; strings pass through `tidy` first.

    A string that says nothing becomes null where null is allowed, and is left out of a list. Lists lose
    what is repeated in them. A field that was not asked for is passed over: a server without constrained decoding
    adds some, and they take nothing from the others.

    Raises:
        BadReplyError: "schema", with path and value.
    """
    if "anyOf" in schema:
        said = plain if schema["anyOf"][0]["type"] != "string" else partial(tidy, path)
        if value is None or (isinstance(value, str) and said(value) is None):
            return None
        return fitted(value, schema["anyOf"][0], tidy, path)
    return _FITTERS[schema["type"]](value, schema, tidy, path)


def _object(value: Any, schema: Schema, tidy: Tidy, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit(path, value, "an object")
    properties: Schema = schema["properties"]
    for name in properties:
        if name not in value:
            raise BadReplyError("schema", f"{f'{path}.{name}'.lstrip('.')} is missing")
    return {name: fitted(value[name], sub, tidy, f"{path}.{name}".lstrip(".")) for name, sub in properties.items()}


def _array(value: Any, schema: Schema, tidy: Tidy, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _unfit(path, value, "a list")
    if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
        raise _unfit(path, value, f"{schema.get('minItems', 0)} to {schema['maxItems']} items")
    found: list[Any] = []
    for item in value:
        if isinstance(item, str) and tidy(path, item) is None:
            continue
        kept = fitted(item, schema["items"], tidy, path)
        if kept not in found:
            found.append(kept)
    return found


def _string(value: Any, schema: Schema, tidy: Tidy, path: str) -> str:
    if not isinstance(value, str):
        raise _unfit(path, value, "a string")
    text = tidy(path, value)
    if text is None:
        raise _unfit(path, value, "words")
    if "enum" in schema and text not in schema["enum"]:
        raise _unfit(path, value, f"one of {', '.join(schema['enum'])}")
    if len(text) > schema.get("maxLength", len(text)):
        raise _unfit(path, value, f"at most {schema['maxLength']} characters")
    if not text.isprintable():
        raise _unfit(path, value, "printable characters")
    return text


_FITTERS: dict[str, Callable[[Any, Schema, Tidy, str], Any]] = {"object": _object, "array": _array, "string": _string}


def _unfit(path: str, value: Any, wanted: str) -> BadReplyError:
    said = json.dumps(value, ensure_ascii=True)
    said = said if len(said) <= _SHORT else f"{said[:_SHORT]}..."
    return BadReplyError("schema", f"{path or 'the reply'}: {said}, wanted {wanted}")
