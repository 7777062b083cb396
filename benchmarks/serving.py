"""What `cnn-tuner serve` answers under load: every answer checked, latency by percentiles, images a second.

    .venv/bin/cnn-tuner serve EXPORT                        # in another terminal; or --start does it here
    .venv/bin/python benchmarks/serving.py EXPORT [--clients 8] [--seconds 60] [--kind mixed] [--start] [--junk]

Each client is a thread with a connection of its own that sends the next request when it has the last answer: one image
a request, as an array of pixels, as PNG bytes, or in turns. The answers are compared with those of the export called
directly, in batches of one. `--junk` has another client send requests that must be refused all the while.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from cnn_tuner.export.served import Served

IMAGES = 64  # different ones
TOLERANCE = 1e-4  # a batch of another size sums in another order
JUNK = (
    b"",
    b"no",
    b"[" * 100_000,
    b'{"instances": 1}',
    b'{"instances": [[[["x"]]]]}',
    b'{"instances": [{"b64": "bm8="}]}',
    b'{"instances": [[]], "signature_name": "none"}',
    b"\xff\xfe",
)


def instances(images: np.ndarray, kind: str) -> list[bytes]:
    """The body of a request for each image."""
    found = []
    for number, image in enumerate(images):
        as_file = kind == "png" or (kind == "mixed" and number % 2)
        instance: object = image.tolist()
        if as_file:
            stream = io.BytesIO()
            Image.fromarray(image.squeeze()).save(stream, "PNG")
            instance = {"b64": base64.b64encode(stream.getvalue()).decode()}
        found.append(json.dumps({"instances": [instance], "signature_name": "scores"}).encode())
    return found


class Client(threading.Thread):
    """Sends one request after the other until `until`, and keeps how long each took and what was wrong."""

    def __init__(self, url: str, bodies: list[bytes], truth: np.ndarray, until: float, place: int) -> None:
        super().__init__()
        self.url, self.bodies, self.truth, self.until, self.place = url, bodies, truth, until, place
        self.seconds: list[float] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        number = self.place
        while time.monotonic() < self.until:
            number = (number + 1) % len(self.bodies)
            began = time.monotonic()
            try:
                connection.request("POST", f"{parts.path}:predict", self.bodies[number])
                answer = connection.getresponse()
                content = answer.read()
            except OSError as error:
                self.wrong.append(repr(error))
                connection.close()
                continue
            self.seconds.append(time.monotonic() - began)
            self._check(number, answer.status, content)
        connection.close()

    def _check(self, number: int, status: int, content: bytes) -> None:
        if status != 200:
            self.wrong.append(f"{status}: {content[:100]!r}")
            return
        [scores] = json.loads(content)["predictions"]
        if not np.allclose(scores, self.truth[number], rtol=TOLERANCE, atol=TOLERANCE):
            self.wrong.append(f"image {number}: {scores}, must be {self.truth[number].tolist()}")


class JunkClient(Client):
    """Sends what must be refused."""

    def _check(self, number: int, status: int, content: bytes) -> None:
        if not (400 <= status < 500 and "error" in json.loads(content)):
            self.wrong.append(f"junk {number}: {status}: {content[:100]!r}")


def start(export: Path) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "cnn_tuner.cli", "serve", str(export)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split(" at ")[1].split()[0]


def measure(export: Path, url: str, clients: int, seconds: float, kind: str, with_junk: bool) -> bool:
    """Prints the figures; whether all went well."""
    served = Served(export)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *served.image_shape), dtype=np.uint8)
    truth = np.concatenate([served.scores(image[None]) for image in images])
    bodies, until = instances(images, kind), time.monotonic() + seconds
    load = [Client(url, bodies, truth, until, place * IMAGES // clients) for place in range(clients)]
    junk = [JunkClient(url, list(JUNK), truth, until, 0)] if with_junk else []
    for client in load + junk:
        client.start()
    for client in load + junk:
        client.join()
    taken = np.array([second for client in load for second in client.seconds]) * 1000
    wrong = [text for client in load + junk for text in client.wrong]
    if not len(taken):
        print("no answer" + "".join(f"\n  {text}" for text in wrong[:5]))
        return False
    p50, p95, p99 = np.percentile(taken, (50, 95, 99))
    print(f"{len(taken):,} answers to {clients} clients in {seconds:g} s, {kind}: {len(taken) / seconds:,.0f} a second")
    print(f"latency, ms: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, longest {taken.max():.1f}")
    if with_junk:
        print(f"{len(junk[0].seconds):,} requests that must be refused, {len(junk[0].wrong)} were not")
    print(f"wrong: {len(wrong)}" + "".join(f"\n  {text}" for text in wrong[:5]))
    return not wrong


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--url", default="", help="the model's address, as serve prints it")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kind", choices=["pixels", "png", "mixed"], default="mixed")
    parser.add_argument("--start", action="store_true", help="start a server, and end it")
    parser.add_argument("--junk", action="store_true", help="and another client that sends junk")
    asked = parser.parse_args()
    if not asked.start and not asked.url:
        parser.error("--url: say where the server is, or have one started by --start")
    process, url = start(asked.export) if asked.start else (None, asked.url)
    try:
        is_well = measure(asked.export, url, asked.clients, asked.seconds, asked.kind, asked.junk)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
