import secrets
import socket

# Below the range from which Linux, macOS and Windows take the local end of outgoing connections: while a
# test holds its server down, no client socket can take the server's port, and no client can reach itself.
_LOWEST = 12_000
_HIGHEST = 32_000

# More tries than a machine with half of the range taken would ever need.
_TRIES = 200


def free_port() -> int:
    """A loopback TCP port nobody listens on now; chosen by chance, so that parallel runs do not meet."""
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if _is_free(port):
            return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_HIGHEST} after {_TRIES} tries")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
