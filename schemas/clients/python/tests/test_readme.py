"""The README's code does what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from hookledger import Hookledger

from .conftest import ROOT, Account, Receiver, eventually

FOLDER = Path(__file__).resolve().parent.parent


def block(holds: str, account: Account, receiver: str) -> str:
    """The README's only block of Python that has these words, on this machine."""
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    found = [b for b in blocks if holds in b]
    assert len(found) == 1, f"{len(found)} blocks with {holds}"
    code: str = found[0].replace("http://127.0.0.1:8080", account.server.base)
    return code.replace("http://127.0.0.1:9000/hook", receiver)


def environment(account: Account, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(FOLDER / "src"), "HOOKLEDGER_API_KEY": account.key, **more}


def run(code: str, account: Account) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(account),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quick_start(account: Account, receiver: Receiver) -> None:
    out = run(block("webhooks.create", account, receiver.url), account)
    assert "verify requests with whsec_" in out
    assert "TestResult(success=True, status_code=204" in out
    assert re.search(r"^evt_\w+ accepted$", out, re.MULTILINE)
    assert b"ex_1" in receiver.next(2).body
    again = run(block("asyncio.run", account, receiver.url), account)
    assert "'export.ready'" in again
    assert "tour active" in again


def test_the_receiver(account: Account) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = block("BaseHTTPRequestHandler", account, "").replace("9000", str(port))
    with Hookledger(account.server.base, account.key) as client:
        webhook = client.webhooks.create(name="r", url=f"http://127.0.0.1:{port}/", events=["export.ready"])
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment(account, WEBHOOK_SECRET=webhook.secret),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            eventually("answer of the receiver", lambda: client.webhooks.test(webhook.webhook_id).success)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("None test ")
            accepted = client.events.publish("export.ready", {"n": 1})
            line = process.stdout.readline()
            assert line.startswith("del_")
            assert line.endswith(" export.ready {'n': 1}\n")
            assert accepted.id
            client.webhooks.rotate_secret(webhook.webhook_id)  # which this receiver was not told
            assert client.webhooks.test(webhook.webhook_id).status_code == 400
        finally:
            process.terminate()
            process.communicate()


def test_errors_and_ids(account: Account) -> None:
    assert run(block("ConflictError", account, ""), account) in ("event_id_conflict\n", "")


def test_the_main_readme_names_this_one() -> None:
    assert "schemas/clients/python" in (ROOT / "README.md").read_text()
