import os
import secrets
import socket

# Below the range from which Linux, macOS and Windows take the local end of outgoing connections: while a
# test holds its server down, no client socket can take the server's port, and no client can reach itself.
_LOWEST = 12_000
_HIGHEST = 32_000

# A port stays free until its server is up, which takes a second: processes that test side by side choose from shares
# of their own, and none chooses a port again.
_SHARES = 4
_given: set[int] = set()

# More tries than a machine with half of the range taken would ever need.
_TRIES = 200


def free_port() -> int:
    """A loopback TCP port nobody listens on now; chosen by chance, so that parallel runs do not meet."""
    size = (_HIGHEST - _LOWEST) // _SHARES
    lowest = _LOWEST + _share() * size
    for _ in range(_TRIES):
        port = lowest + secrets.randbelow(size)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {lowest} and {lowest + size} after {_TRIES} tries")


def _share() -> int:
    """Which share is this process's: by the number that pytest-xdist gives it; the last is that of all others."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    return int(number) % (_SHARES - 1) if number else _SHARES - 1


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
