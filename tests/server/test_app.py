"""An export behind TensorFlow Serving's path: right answers, batches, limits, and junk that ends nothing."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import exports
import numpy as np
import pytest
from later import later
from PIL import Image
from toys import NAMES

from cnn_tuner.errors import UsageError
from cnn_tuner.export.served import Served
from cnn_tuner.server.app import App
from cnn_tuner.server.batching import Batcher
from cnn_tuner.server.requests import Asked, Limits, Model, RequestError, metadata, parse, rows

IMAGES = exports.images(6)
SMALL = Limits(body_bytes=20_000, images=4, pixels=10_000, read_seconds=0.3)


def file_of(image: np.ndarray, kind: str = "PNG") -> str:
    stream = io.BytesIO()
    Image.fromarray(image.squeeze()).save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


class Running:
    """A server in a thread of this process."""

    def __init__(self, app: App) -> None:
        listening = pytest.importorskip("cnn_tuner.server.listening", exc_type=ImportError)
        self.socket = listening.listen(0, 0)
        self.port = self.socket.getsockname()[1]
        self.server = listening.server(app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            assert answer.headers["content-type"] == "application/json"
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def predict(self, instances: object, **more: object) -> tuple[int, dict]:
        return self.ask("POST", "/v1/models/toy:predict", json.dumps({"instances": instances, **more}).encode())

    def raw(self, text: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(text)
            found = b""
            while chunk := connection.recv(65536):
                found += chunk
            return found

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def served() -> Served:
    return exports.served()


def described(served: Served) -> Model:
    return Model("toy", "1", served.image_shape, served.signatures)


@pytest.fixture(scope="module")
def running(served):
    found = Running(App(described(served), served.answer, SMALL, 0.002))
    yield found
    found.close()


def test_pixels_and_files_are_answered_in_rows(running, served):
    wanted = served.predict(IMAGES[:3])
    status, found = running.predict([IMAGES[0].tolist(), {"b64": file_of(IMAGES[1])}, {"image": IMAGES[2].tolist()}])
    assert status == 200
    for row, answer in zip(found["predictions"], wanted, strict=True):
        assert row["class"] == answer["class"]
        assert row["probability"] == pytest.approx(answer["probability"], abs=1e-6)
        assert row["probabilities"] == pytest.approx(list(answer["probabilities"].values()), abs=1e-6)


def test_a_single_output_is_the_bare_value(running, served):
    status, found = running.predict([IMAGES[0].tolist()], signature_name="scores")
    assert status == 200
    np.testing.assert_allclose(found["predictions"], served.scores(IMAGES[:1]), atol=1e-6)


@pytest.mark.parametrize("value", [lambda file: {"b64": file}, lambda file: {"image_bytes": {"b64": file}}])
def test_the_signature_of_files_answers_as_the_graph_does(running, served, value):
    status, found = running.predict([value(file_of(IMAGES[0]))], signature_name="serving_bytes")
    assert status == 200
    assert found["predictions"][0]["class"] == served.predict(IMAGES[:1])[0]["class"]


@pytest.mark.parametrize("value", [lambda images: images, lambda images: {"image": images}])
def test_columns_are_answered_by_columns(running, served, value):
    images = [IMAGES[0].tolist(), {"b64": file_of(IMAGES[1])}]
    rows_of = running.predict(images)[1]["predictions"]
    body = json.dumps({"inputs": value(images)}).encode()
    status, found = running.ask("POST", "/v1/models/toy:predict", body)
    assert status == 200
    assert found == {"outputs": {name: [row[name] for row in rows_of] for name in rows_of[0]}}
    body = json.dumps({"inputs": value(images), "signature_name": "scores"}).encode()
    _, found = running.ask("POST", "/v1/models/toy:predict", body)
    np.testing.assert_allclose(found["outputs"], served.scores(IMAGES[:2]), atol=1e-6)


def test_a_file_is_decoded_as_for_training(running, served):
    large = np.random.default_rng(1).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    from cnn_tuner.data.pictures import read_image_bytes

    content = file_of(large, "JPEG")
    pixels = read_image_bytes(base64.b64decode(content), (8, 8, 1))
    _, found = running.predict([{"b64": content}], signature_name="scores")
    np.testing.assert_allclose(found["predictions"], served.scores(pixels[None]), atol=1e-6)


@pytest.mark.parametrize("task", [later("binary"), "multilabel", "regression"])
def test_the_other_tasks_have_their_rows_too(task):
    served = exports.served(task)
    [row] = rows(served.answer("serving_default", IMAGES[:1]))
    expected = {"binary": {"class", "probability", "probabilities"}, "multilabel": {"is_present", "probabilities"}}
    if task == "regression":
        assert isinstance(row, list)
        assert len(row) == len(NAMES[task])
    else:
        assert set(row) == expected[task]
    assert json.loads(json.dumps(row)) == row
    assert json.dumps(metadata(described(served)))


def test_status_and_metadata(running):
    status, found = running.ask("GET", "/v1/models/toy")
    assert (status, found["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    assert running.ask("GET", "/v1/models/toy/versions/1") == (200, found)
    status, found = running.ask("GET", "/v1/models/toy/metadata")
    assert found["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"scores", "serving_bytes", "serving_default"}
    assert signatures["serving_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    assert signatures["serving_bytes"]["outputs"] == signatures["serving_default"]["outputs"]
    sides = signatures["scores"]["inputs"]["image"]["tensor_shape"]["dim"]
    assert [side["size"] for side in sides] == ["-1", "8", "8", "1"]
    assert signatures["serving_default"]["outputs"]["class"]["dtype"] == "DT_STRING"


PIXELS = "must be 8 rows of 8 pixels of 1 whole numbers from 0 to 255"
BAD = {
    "nothing": (b"", 400, "the body is no JSON"),
    "no JSON": (b"no", 400, "the body is no JSON"),
    "not text": (b"\xff\xfe\x00", 400, "the body is no JSON"),
    "deep": (b"[" * 19_000, 400, "the body is no JSON"),
    "a list": (b"[]", 400, "must be an object"),
    "strange": (b'{"input": []}', 400, "unknown: input; allowed are instances, inputs and signature_name"),
    "both": (b'{"inputs": [1], "instances": [1]}', 400, "instances and inputs: name one of them, not both"),
    "no column": (b'{"inputs": []}', 400, "inputs: must be a list of one image or more"),
    "another column": (b'{"inputs": {"x": [1]}}', 400, "inputs: must be a list of one image or more"),
    "a number in a column": (b'{"inputs": {"image": [3]}}', 400, r"inputs\[0\]: must be an array of pixels or"),
    "many in a column": (b'{"inputs": [1, 2, 3, 4, 5]}', 413, "inputs: at most 4 images a request, got 5"),
    "pixels as files": (
        b'{"instances": [[[[1]]]], "signature_name": "serving_bytes"}',
        400,
        r'instances\[0\]: must be {"b64": "..."} with the bytes',
    ),
    "no instances": (b"{}", 400, "instances: must be a list of one image or more"),
    "none": (b'{"instances": []}', 400, "instances: must be a list of one image or more"),
    "a number": (b'{"instances": [3]}', 400, r"instances\[0\]: must be an array of pixels or"),
    "signature": (b'{"instances": [1], "signature_name": "x"}', 400, "signature_name: unknown: x; choices: "),
    "a signature that is none": (b'{"instances": [1], "signature_name": [1]}', 400, "signature_name: unknown"),
    "labels": (b'{"instances": [1], "signature_name": "labels"}', 400, "signature_name: unknown: labels"),
    "shape": (b'{"instances": [[[[1]]]]}', 400, PIXELS),
    "ragged": (json.dumps({"instances": [[[[1]] * 8] * 7 + [[[1]] * 9]]}).encode(), 400, PIXELS),
    "flat": (json.dumps({"instances": [[[1] * 8] * 8]}).encode(), 400, PIXELS),
    "parts of numbers": (json.dumps({"instances": [[[[0.5]] * 8] * 8]}).encode(), 400, PIXELS),
    "large numbers": (json.dumps({"instances": [[[[256]] * 8] * 8]}).encode(), 400, PIXELS),
    "negative numbers": (json.dumps({"instances": [[[[-1]] * 8] * 8]}).encode(), 400, PIXELS),
    "truths": (json.dumps({"instances": [[[[True]] * 8] * 8]}).encode(), 400, PIXELS),
    "texts": (json.dumps({"instances": [[[["1"]] * 8] * 8]}).encode(), 400, PIXELS),
    "base64": (b'{"instances": [{"b64": "!"}]}', 400, "b64 is not base64"),
    "base64 of a number": (b'{"instances": [{"b64": 1}]}', 400, "must be an array of pixels or"),
    "no image": (b'{"instances": [{"b64": "bm8="}]}', 400, r"instances\[0\]: broken image: is none of PNG, JPEG"),
    "many": (b'{"instances": [1, 2, 3, 4, 5]}', 413, "at most 4 images a request, got 5"),
    "large body": (b" " * 20_001, 413, "the body must have at most 20,000 bytes"),
    "larger body": (b" " * 200_000, 413, "the body must have at most 20,000 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_junk_is_refused_and_it_goes_on(running, case):
    body, code, why = BAD[case]
    status, found = running.ask("POST", "/v1/models/toy:predict", body)
    assert status == code
    assert re.search(why, found["error"])
    assert "\n" not in found["error"]
    assert running.predict([IMAGES[0].tolist()])[0] == 200


def test_an_image_of_many_pixels_is_refused(running):
    body = [{"b64": file_of(np.zeros((101, 100), np.uint8))}]
    status, found = running.predict(body)
    assert (status, found["error"]) == (
        400,
        "instances[0]: image too large: must have at most 0.01 megapixels, got 100x101 pixels",
    )


def test_a_bomb_is_refused_by_its_header(running):
    stream = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(stream, "PNG")
    assert len(stream.getvalue()) > 20_000  # of 900 megapixels, so that this server's own limit comes first
    with pytest.raises(RequestError, match="image too large: must have at most 25 megapixels") as error:
        body = json.dumps({"instances": [{"b64": base64.b64encode(stream.getvalue()).decode()}]}).encode()
        parse(body, Model("toy", "1", (8, 8, 1), {"serving_default": {}}), Limits())
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("method", "path", "code", "why"),
    [
        ("GET", "/", 404, "no such path: /; there is /v1/models/toy:predict"),
        ("GET", "/v1/models/other", 404, "no such model: /v1/models/other; there is toy, version 1|no such model"),
        ("GET", "/v1/models/toy/versions/2", 404, "no such model"),
        ("POST", "/v1/models/toy:classify", 404, "no such method: :classify; there is :predict"),
        ("GET", "/v1/models/toy:predict", 405, "GET: not allowed here; use POST"),
        ("POST", "/v1/models/toy", 405, "POST: not allowed here; use GET"),
        ("GET", "/v1/models/../../etc/passwd", 404, "no such path"),
    ],
)
def test_strange_paths_are_told(running, method, path, code, why):
    status, found = running.ask(method, path, b"{}" if method == "POST" else None)
    assert status == code
    assert re.search(why, found["error"])


def test_another_host_is_refused(running):
    status, found = running.ask("GET", "/v1/models/toy", Host="evil.example:80")
    assert (status, found["error"]) == (403, "Host: must be 127.0.0.1 or localhost, got evil.example:80")
    assert running.ask("GET", "/v1/models/toy", Host=f"localhost:{running.port}")[0] == 200


def test_a_body_that_does_not_arrive_is_given_up(running):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert b"408" in running.raw(head).splitlines()[0]
    assert running.predict([IMAGES[0].tolist()])[0] == 200


def test_a_head_that_does_not_end_is_given_up(running, monkeypatch):
    monkeypatch.setattr("cnn_tuner.server.listening.HEAD_SECONDS", 0.2)
    assert running.raw(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: local") == b""


def test_what_is_no_request_is_refused(running):
    assert b"400" in running.raw(b"\x16\x03\x01 junk\r\n\r\n").splitlines()[0]
    assert running.predict([IMAGES[0].tolist()])[0] == 200


def test_a_length_beyond_reason_is_refused_unread(running):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n"
    assert b"413" in running.raw(head).splitlines()[0]


def test_a_body_in_pieces_is_limited_too(running):
    piece = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"413" in running.raw(head + 4 * piece + b"0\r\n\r\n").splitlines()[0]


def test_many_clients_get_their_own_answers(running, served):
    wanted = served.scores(IMAGES)

    def ask(number: int) -> bool:
        _, found = running.predict([IMAGES[number % 6].tolist()], signature_name="scores")
        return np.allclose(found["predictions"], wanted[number % 6][None], atol=1e-5)

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(ask, range(80)))


def test_a_model_that_fails_is_told_and_it_goes_on(served):
    failures = [ValueError("no\nmemory")]

    def call(signature, images):
        if failures:
            raise failures.pop()
        return served.answer(signature, images)

    running = Running(App(described(served), call, SMALL, 0))
    try:
        assert running.predict([IMAGES[0].tolist()]) == (500, {"error": "the model failed: no memory"})
        assert running.predict([IMAGES[0].tolist()])[0] == 200
    finally:
        running.close()


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(requests_at_once=0), "busy: 0 requests are under way; try again"),
        (Limits(bytes_at_once=10), "busy: too many bytes are under way; try again"),
    ],
)
def test_a_server_at_its_limit_says_so(served, limits, why):
    running = Running(App(described(served), served.answer, limits, 0))
    try:
        assert running.predict([IMAGES[0].tolist()]) == (503, {"error": why})
        assert running.ask("GET", "/v1/models/toy")[0] == 200
    finally:
        running.close()


def asked(value: int, count: int = 1, signature: str = "scores") -> Asked:
    return Asked(signature, np.full((count, 1, 1, 1), value, np.uint8))


def batched(questions: list[Asked], max_images: int = 8, fails: bool = False) -> tuple[list, list[tuple[str, int]]]:
    """The answers to questions that come at once, and the calls that were made."""
    calls: list[tuple[str, int]] = []

    def call(signature, images):
        calls.append((signature, len(images)))
        if fails:
            raise ValueError("broken")
        return {"scores": images[:, 0, 0, 0]}

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(call, executor, max_images, 5)
            task = asyncio.create_task(batcher.run())
            found = await asyncio.gather(*(batcher.answer(each) for each in questions), return_exceptions=True)
            task.cancel()
            return found

    return asyncio.run(run()), calls


def test_questions_that_come_together_are_one_call():
    found, calls = batched([asked(1), asked(2, 3), asked(3)])
    assert calls == [("scores", 5)]
    assert [each["scores"].tolist() for each in found] == [[1], [2, 2, 2], [3]]


def test_a_call_has_one_signature_and_a_limit():
    found, calls = batched([asked(1, 5), asked(2, 5), asked(3, 1, "other"), asked(4, 3)], max_images=8)
    assert calls == [("scores", 8), ("scores", 5), ("other", 1)]
    assert [set(each["scores"].tolist()) for each in found] == [{1}, {2}, {3}, {4}]


def test_a_failed_call_is_told_to_all_who_wait():
    found, _ = batched([asked(1), asked(2)], fails=True)
    assert [str(each) for each in found] == ["broken", "broken"]


def test_those_who_are_coming_are_waited_for():
    calls = []

    def call(_, images):
        calls.append(len(images))
        return {"scores": images}

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(call, executor, 8, 30)
            task = asyncio.create_task(batcher.run())
            with batcher.expecting():
                first = asyncio.create_task(batcher.answer(asked(1)))
                for _ in range(10):
                    await asyncio.sleep(0)  # lets the others run
                assert not calls
                second = asyncio.create_task(batcher.answer(asked(2)))
                await asyncio.sleep(0)
            await asyncio.gather(first, second)
            task.cancel()

    asyncio.run(run())
    assert calls == [2]


def test_a_port_that_is_taken_is_told():
    listening = pytest.importorskip("cnn_tuner.server.listening", exc_type=ImportError)
    with listening.listen(0, 0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(UsageError, match=f"--port {port}: another program listens there; choose another"):
            listening.listen(port, 0)
    with pytest.raises(UsageError, match="--port 70000: no such port, or it is not allowed"):
        listening.listen(70000, 0)


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tmp_path):
    pytest.importorskip("uvicorn")
    export = exports.write(tmp_path / "digits" / "3")
    command = [sys.executable, "-m", "cnn_tuner.cli", "serve", str(export), "--port", "0"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
    try:
        first, second = process.stdout.readline(), process.stdout.readline()
        port = int(
            re.search(rf"^{re.escape(str(export))} at http://127.0.0.1:(\d+)/v1/models/digits \(Ctrl-C", first)[1]
        )
        assert second.endswith(f"| curl --data @- http://127.0.0.1:{port}/v1/models/digits:predict\n")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/v1/models/digits/versions/3")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
