"""What a Redis answers (RESP 2), taken apart as it comes in."""

from typing import Any

_COLON, _DOLLAR, _STAR, _MINUS, _PLUS = b":$*-+"


class GarbledReplyError(ValueError):
    """What came is no answer of a Redis."""


class RefusalError(Exception):
    """An error that the server answered with, in its words."""


class Replies:
    """Takes bytes in any portions, and gives answers: whole numbers, bytes, lists, refusals."""

    def __init__(self) -> None:
        self._rest = b""
        self._lists: list[tuple[list[Any], int]] = []
        """Lists that are not whole yet, each within the one before it, and their lengths."""

    def feed(self, data: bytes) -> list[Any]:
        """The answers that are whole now; `GarbledReplyError` if it is none.

        One loop over the whole text: a method for each kind would cost twice as much.
        """
        text = self._rest + data if self._rest else data
        answers: list[Any] = []
        here = 0
        while (end := text.find(b"\r\n", here)) >= 0:
            kind, after = text[here], end + 2
            value: Any
            if kind == _COLON:
                value = _number(text[here + 1 : end])
            elif kind == _DOLLAR:
                length = _number(text[here + 1 : end])
                value = None
                if length >= 0:
                    start, after = after, after + length + 2
                    if after > len(text):
                        break
                    value = text[start : after - 2]
            elif kind == _STAR:
                length = _number(text[here + 1 : end])
                if length > 0:
                    self._lists.append(([], length))
                    here = after
                    continue
                value = None if length < 0 else []
            else:
                value = _line(kind, text[here + 1 : end])
            here = after
            self._place(value, answers)
        self._rest = text[here:]
        return answers

    def _place(self, value: Any, answers: list[Any]) -> None:
        while self._lists:
            values, length = self._lists[-1]
            values.append(value)
            if len(values) < length:
                return
            self._lists.pop()
            value = values
        answers.append(value)


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise GarbledReplyError(repr(text)) from error


def _line(kind: int, text: bytes) -> bytes | RefusalError:
    if kind == _PLUS:
        return text
    if kind == _MINUS:
        return RefusalError(text.decode(errors="replace"))
    raise GarbledReplyError(repr(bytes([kind]) + text))
