"""The client's HTTP: every way an answer may be framed, cut at any place, or broken off."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from reactorcide.cli.client import Client, Refused, Unreachable

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def answering(*answers: Sequence[bytes] | None) -> Iterator[tuple[Client, list[bytes]]]:
    """Serve one connection for each of the answers, which are sent piece by piece.

    None: the connection is closed without an answer. Yields a client and the requests it sent.
    """
    requests: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for pieces in answers:
            accepted, _ = listening.accept()
            with accepted:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                requests.append(accepted.recv(65_536))
                for piece in pieces or ():
                    accepted.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,), daemon=True)
        server.start()
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}/base", "secret")
        try:
            yield client, requests
        finally:
            client.close()
        server.join(10)
        assert not server.is_alive()


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 7\r\n\r\n[1,2,3]",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n4\r\n2,3]\r\n0\r\n\r\n",
        OK + b"\r\n[1,2,3]",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 7\r\n\r\n[1,2,3]",
    ],
    ids=["length", "chunked", "to the end", "after 103"],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_an_answer_is_read_whole(answer: bytes, *, is_cut: bool) -> None:
    """However it is framed, and byte by byte as well as at once."""
    pieces = [answer[at : at + 1] for at in range(len(answer))] if is_cut else [answer]
    with answering(pieces) as (client, requests):
        assert client.get("/jobs", {"q": "a b&c", "none": None}) == [1, 2, 3]
    head = requests[0].decode()
    assert head.startswith("GET /base/api/v1/jobs?q=a+b%26c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "Authorization: Bearer secret\r\n" in head


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 9\r\n\r\n[1,2"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n"],
        [b"HTTP/1.1 20"],
        None,
    ],
)
def test_a_cut_answer_is_asked_for_again_once(pieces: Sequence[bytes] | None) -> None:
    """A read may be repeated; one that is cut twice is the server's failure."""
    whole = [OK + b"Content-Length: 1\r\n\r\n1"]
    with answering(pieces, whole) as (client, requests):
        assert client.get("/jobs") == 1
    assert len(requests) == 2
    with answering(pieces, pieces) as (client, _), pytest.raises(Unreachable):
        client.get("/jobs")


def test_a_command_is_repeated_only_with_a_key() -> None:
    """Without an Idempotency-Key it might be done twice."""
    whole = [b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"]
    with answering(None) as (client, _), pytest.raises(Unreachable):
        client.call("POST", "/jobs", body={})
    with answering(None, whole) as (client, requests):
        client.call("POST", "/jobs", body={}, headers={"Idempotency-Key": "k"})
    assert requests[0] == requests[1]


def test_a_refusal_carries_the_problem() -> None:
    """Its message, where it is wrong, and the contract's exit code."""
    problem = b'{"message": "no", "errors": [{"pointer": "/name", "message": "too long"}]}'
    head = b"HTTP/1.1 422 X\r\nContent-Length: " + str(len(problem)).encode() + b"\r\n\r\n"
    with answering([head + problem]) as (client, _), pytest.raises(Refused) as caught:
        client.get("/jobs")
    assert (caught.value.exit_code, caught.value.message) == (2, "no")
    assert caught.value.hints == ("/name: too long",)


def test_what_is_wrong_is_said_once() -> None:
    """A message that is the one error's, as the API gives it, has no hint that repeats it."""
    problem = b'{"message": "/a: no", "errors": [{"pointer": "/a", "message": "no"}]}'
    head = b"HTTP/1.1 422 X\r\nContent-Length: " + str(len(problem)).encode() + b"\r\n\r\n"
    with answering([head + problem]) as (client, _), pytest.raises(Refused) as caught:
        client.get("/jobs")
    assert (caught.value.message, caught.value.hints) == ("/a: no", ())


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [(400, 2), (401, 4), (403, 4), (404, 5), (409, 6), (412, 6), (428, 6), (429, 7), (500, 3),
     (502, 3), (503, 3)],
)  # fmt: skip
def test_a_status_is_an_exit_code(status: int, exit_code: int) -> None:
    """Also where the body is a proxy's and no problem at all."""
    answer = f"HTTP/1.1 {status} X\r\nRetry-After: 2\r\nContent-Length: 6\r\n\r\n<html>".encode()
    with answering([answer]) as (client, _), pytest.raises(Refused) as caught:
        client.get("/jobs")
    assert caught.value.exit_code == exit_code


def test_a_stream_is_handed_on_as_it_comes() -> None:
    """And one that breaks off is not taken for its end."""
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    with (
        answering([head, b"2\r\nab\r\n", b"1\r\nc\r\n"]) as (client, _),
        closing(client.stream("/x")) as pieces,
    ):
        seen = next(pieces)
        while len(seen) < 3:
            seen += next(pieces)
        assert seen == b"abc"
        with pytest.raises(Unreachable):
            next(pieces)


def test_a_silent_stream_is_given_up() -> None:
    """After the caller's patience, not ours."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", None)
        with pytest.raises(Unreachable, match="no answer in time"):
            next(client.stream("/x", patience=lambda: 0.05))


def test_what_would_break_the_head_is_not_sent() -> None:
    """A header that holds a line break."""
    client = Client("http://127.0.0.1:1", None)
    with pytest.raises(Unreachable):
        client.call("GET", "/jobs", headers={"X": "a\r\nHost: b"})
