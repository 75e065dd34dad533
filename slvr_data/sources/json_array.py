"""The elements of one large JSON array, read piece by piece, each with its text as it stood."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path

from slvr_data.errors import UsageError
from slvr_data.sources.base import RawRow
from slvr_data.sources.rows import json_lines

_PIECE = 1 << 20
_HEAD = 1 << 16
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_LENIENT = json.JSONDecoder(parse_int=float)
"""Finds the end of an element that holds a number too long for `int`; the element itself is judged later."""


def json_rows(file: Path) -> Iterator[RawRow]:
    """The rows of a file that is either one JSON array or a JSON object per line, numbered from 1.

    Raises:
        UsageError: the file is an array, and broken as a whole.
    """
    return json_elements(file) if is_array(file) else json_lines(file)


def is_array(file: Path) -> bool:
    """Whether the file is one array; not if its first line is a whole one and more lines follow."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
        more = bool(stream.read(1))
    if not head.startswith(b"["):
        return False
    first, end, rest = head.partition(b"\n")
    if not end or not (rest.strip() or more):
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return False


def json_elements(file: Path) -> Iterator[RawRow]:
    """The elements of the array in `file`; `line` is the position from 1, the payload the element's UTF-8 text.

    Raises:
        UsageError: it is not UTF-8, or not one whole JSON array.
    """
    text = _Text(file)
    if text.next() != "[":
        raise text.broken("the array does not begin with '['")
    text.step()
    number = 0
    mark = text.next()
    if mark == "]":
        text.step()
    while mark != "]":
        number += 1
        yield RawRow(number, text.element().encode())
        mark = text.next()
        if mark not in (",", "]"):
            raise text.broken("',' or ']' is missing between elements" if mark else "the array does not end")
        text.step()
    if text.next():
        raise text.broken("something stands behind the end of the array")


class _Text:
    """The text of a file, read on as it is needed, and a place in it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pieces = self._read()
        self._text, self._at = "", 0
        self._lines, self._column = 0, 0  # lines, and characters of the last one, that are read and dropped

    def _read(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        done = 0
        with self._file.open("rb") as stream:
            while True:
                piece = stream.read(_PIECE)
                waiting = len(decoder.getstate()[0])
                try:
                    yield decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    place = done - waiting + error.start + 1
                    raise UsageError(f"{self._file}: byte {place} is not UTF-8: save the file as UTF-8") from None
                if not piece:
                    return
                done += len(piece)

    def _more(self, least: int = 1) -> bool:
        """Read at least so many characters on, and drop what is used; whether there were any."""
        used = self._text[: self._at]
        lines = used.count("\n")
        self._column = len(used) - used.rfind("\n") - 1 if lines else self._column + len(used)
        self._lines += lines
        pieces = [self._text[self._at :]]
        self._at = 0
        got = 0
        for piece in self._pieces:
            pieces.append(piece)
            got += len(piece)
            if got >= least:
                break
        self._text = "".join(pieces)
        return got > 0

    def next(self) -> str:
        """The next character that is not blank; empty at the end. The place is then before it."""
        while True:
            found = _BLANK.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def step(self) -> None:
        """One character on."""
        self._at += 1

    def element(self) -> str:
        """The text of the value that follows."""
        if not self.next():
            raise self.broken("the array does not end")
        while True:
            end, fault = self._end()
            where = fault.pos - self._at if fault else 0
            # Cut off where the text ends, a value may look broken, and a number whole: read on to know.
            if fault is None and end < len(self._text):
                break
            if not self._more(len(self._text) - self._at):
                if fault is not None:
                    raise self.broken(fault.msg, where)
                break
        found = self._text[self._at : end]
        self._at = end
        return found

    def _end(self) -> tuple[int, json.JSONDecodeError | None]:
        try:
            try:
                return _DECODER.raw_decode(self._text, self._at)[1], None
            except json.JSONDecodeError as error:
                return len(self._text), error
            except ValueError:  # a number too long
                return _LENIENT.raw_decode(self._text, self._at)[1], None
        except json.JSONDecodeError as error:
            return len(self._text), error
        except RecursionError:
            raise self.broken("an element is nested too deeply") from None

    def broken(self, what: str, further: int = 0) -> UsageError:
        """The error of a file that is not what it should be, here or so many characters further."""
        before = self._text[: self._at + further]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self._column + len(before) + 1
        where = f"line {self._lines + lines + 1}, column {column}"
        return UsageError(f"{self._file}: not a JSON array that can be read ({where}: {what})")
