"""Object stores for tests: a directory, memory, and S3 where a server for it is installed.

`S3_SERVER=/path/to/moto_server` (see `make s3-test`) starts one for the session.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.request import Request, urlopen

BUCKET: Final = "reactorcide-tests"
_READY_SECONDS: Final = 60.0


def s3_server() -> str | None:
    """Return the program that serves S3 here, if there is one."""
    return os.environ.get("S3_SERVER") or shutil.which("moto_server")


@contextmanager
def s3_served() -> Iterator[Mapping[str, str]]:
    """Run the server; lend the variables by which its one bucket is reached."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = s3_server()
    assert program is not None
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        url = f"http://127.0.0.1:{port}"
        _make_bucket(f"{url}/{BUCKET}")
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait(_READY_SECONDS)


def _make_bucket(url: str) -> None:
    """Make the bucket as soon as the server answers."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with urlopen(Request(url, method="PUT"), timeout=5) as answer:  # noqa: S310  our own
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
