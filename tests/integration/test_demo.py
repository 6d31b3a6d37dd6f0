"""`handoff demo`, which is what `make run` starts: the pasted request is answered, and its callback is printed."""

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from rigs.ports import free_port
from rigs.service import environment

LAST_LINE = "Ctrl-C ends the demo"


def test_the_printed_request_is_answered_and_its_callback_is_printed(tmp_path: Path) -> None:
    port, receiver_port = free_port(), free_port()
    command = [sys.executable, "-u", "-m", "handoff", "demo", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--receiver-port", str(receiver_port)],
        cwd=tmp_path,
        env=environment(f"sqlite:///{tmp_path}/unused.db"),
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        watchdog = threading.Timer(60, demo.kill)
        watchdog.start()
        words = ""
        while LAST_LINE not in words:
            line = demo.stdout.readline()
            assert line, f"the demo ended early:\n{words}"
            words += line

        url = re.findall(r"'(http://localhost:\d+/agentassist[^']*)'", words)[0]
        headers = dict(header.split(": ") for header in re.findall(r"--header '([^']*)'", words))
        body = re.findall(r"--data '(\{.*?\})'", words, re.DOTALL)[0]
        answers = [httpx.post(url, headers=headers, content=body, timeout=60) for _ in range(2)]
        callback = demo.stdout.readline()
        while callback == "\n":
            callback = demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        code = demo.wait()
        watchdog.cancel()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert json.loads(callback.partition(": ")[2])["sessionId"] == answers[0].json()["sessionId"]
    assert code == 0
    assert list(tmp_path.iterdir()) == []
