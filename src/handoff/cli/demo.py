"""`handoff demo`: the whole service on a throw-away store, with the documented sample loaded."""

import base64
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import click

from handoff.bootstrap import create_app
from handoff.cli.common import load_settings, told_in_a_sentence
from handoff.cli.serve import run_server
from handoff.cli.tokens import mint_token
from handoff.directory import load_directory
from handoff.domain.credentials import SCOPES
from handoff.metering import open_metrics_port
from handoff.settings import Settings
from handoff.system import fresh_secret_bytes, listen

# The ids of the vendor's documented sample, masked digits and all.
_ACCOUNT: Final = "650d9eb6da96d0bc0d23xxxx"
_APP: Final = "cs-50febaa3-743f-55b3-8956-718e96f6bb90"
_STREAM: Final = "st-a0ec5267-a58a-5fbb-ab0e-e27ebc35xxxx"
_ORG: Final = "o-02c0d56d-fd90-5e24-8458-01be1d2exxxx"
_AGENT: Final = "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx"
_OTHER_AGENT: Final = "a-220172c-856e-4db6-a2d1-d4c2dabexxxx"
_QUEUE: Final = "qu-b5d3bb4-a1ac-4caa-9be6-55a5abc3xxxx"
_SESSIONS: Final = ("6538f8a3c9cf425ee5cfxxxx", "653a06c9aae89c5fbb4exxxx", "66c2f6939489bfffc791xxxx")

_DAY_S: Final = 86_400


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the service [HANDOFF_PORT, 8000].")
@click.option("--receiver-port", type=click.IntRange(1, 65_535), default=8_009, show_default=True)
@told_in_a_sentence
def demo(port: int | None, receiver_port: int) -> None:
    """Run the service with sample data, a callback receiver, and a request to paste."""
    with tempfile.TemporaryDirectory(prefix="handoff-demo-") as folder:
        settings = _settings(Path(folder), port)
        load_directory(settings, sample_directory())
        with (
            listen(settings.host, settings.port, "HANDOFF_PORT") as listener,
            listen("127.0.0.1", receiver_port, "--receiver-port") as receiver,
            open_metrics_port(settings) as metrics_port,
        ):
            receiver.close()
            _start_receiver(receiver_port)
            words = _instructions(settings, receiver_port)
            app = create_app(settings, metrics_port=metrics_port)
            run_server(app, settings, listener, on_ready=lambda: click.echo(words))


def sample_directory() -> dict[str, list[dict[str, Any]]]:
    """The documented sample's ids as a directory, with a secret made for this run."""
    place = {"accountId": _ACCOUNT, "orgId": _ORG}
    secret = base64.b64encode(fresh_secret_bytes(32)).decode()
    return {
        "apps": [
            {
                "appId": _APP,
                "accountId": _ACCOUNT,
                "name": "Demo",
                "secrets": [secret],
                "scopes": list(SCOPES),
                "streams": "*",
            }
        ],
        "streams": [{**place, "streamId": _STREAM, "name": "Demo bot"}],
        "agents": [
            {
                **place,
                "id": _AGENT,
                "userId": "u-1",
                "firstName": "Jane",
                "maxChatSupport": 5,
                "onlineStatusType": "AVAILABLE",
            },
            {
                **place,
                "id": _OTHER_AGENT,
                "userId": "u-2",
                "firstName": "John",
                "maxChatSupport": 5,
                "onlineStatusType": "AVAILABLE",
            },
        ],
        "queues": [{**place, "id": _QUEUE, "name": "Default"}],
        "sessions": [{**place, "streamId": _STREAM, "botSessionId": session} for session in _SESSIONS],
    }


def _settings(folder: Path, port: int | None) -> Settings:
    """The environment's settings, but on a fresh store, and with the dispatcher of this process."""
    secret = "whsec_" + base64.b64encode(fresh_secret_bytes(32)).decode()
    given: dict[str, object] = {"port": port} if port else {}
    return load_settings(
        **given,
        database_url=f"sqlite:///{folder}/demo.db",
        host="127.0.0.1",
        dispatcher="inline",
        callback_policy="development",
        callback_secrets=secret,
        log_level="WARNING",
    )


def _instructions(settings: Settings, receiver_port: int) -> str:
    token = mint_token(settings, _APP, _DAY_S)
    base = f"http://localhost:{settings.port}"
    return f"""
Handoff is listening on {base} (API page: {base}/docs).
Callbacks arrive on http://localhost:{receiver_port} and are printed here. Paste this into another terminal:

curl --location '{base}/agentassist/api/v1/public/{_STREAM}/assign-conversation' \\
--header 'auth: {token}' \\
--header 'accountid: {_ACCOUNT}' \\
--header 'Content-Type: application/json' \\
--data '{{
"callbackUrl": "http://localhost:{receiver_port}",
"orgId": "{_ORG}",
"aId": "{_AGENT}",
"botSessionId": "{_SESSIONS[0]}"
}}'

Again, and the same bytes come back, with no second callback. Then add "expectedAgentId": "{_AGENT}"
with "aId": "{_OTHER_AGENT}" to move the session on. What happens, as an agent desk follows it:

curl --no-buffer --header 'Accept: text/event-stream' \\
--header 'auth: {token}' \\
'{base}/agentassist/api/v1/public/{_STREAM}/events?after=0'

Ctrl-C ends the demo and forgets all of it.
"""


class _PrintingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Print the callback and say that it has arrived."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        click.echo(f"callback {self.headers.get('webhook-id')}: {json.dumps(json.loads(body))}")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The callback itself is the message."""


def _start_receiver(port: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", port), _PrintingHandler)
    threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()
