"""What a Redis answers, whole or in pieces."""

import pytest

from flux_storages.redis_replies import GarbledReplyError, RefusalError, Replies

SAID = (
    b":-7\r\n$5\r\na\r\nb\x00\r\n$0\r\n\r\n$-1\r\n+OK\r\n*0\r\n*-1\r\n"
    b"*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*1\r\n$-1\r\n$1\r\ny\r\n-ERR no: \xff\r\n"
)
MEANT = [-7, b"a\r\nb\x00", b"", None, b"OK", [], None, [1, [b"x", [None]], b"y"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_in_pieces(size: int) -> None:
    """However the bytes are cut, the answers are the same."""
    replies = Replies()
    answers = [
        answer
        for start in range(0, len(SAID), size)
        for answer in replies.feed(SAID[start : start + size])
    ]
    refusal = answers.pop()
    assert answers == MEANT
    assert isinstance(refusal, RefusalError)
    assert str(refusal) == "ERR no: \ufffd"


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n", b":seven\r\n", b"$x\r\n", b"\r\n"])
def test_no_redis(said: bytes) -> None:
    """What does not speak as Redis does is told at once."""
    with pytest.raises(GarbledReplyError):
        Replies().feed(said)
