"""Requests wait, are served, and end when their clients leave."""

import json
import socket
import threading
import time

import httpx
import pytest

from tests.serve.plain import lock_of

one_painter = pytest.mark.engines("process", "replicas")  # a second one would not let anybody wait


def post(server, text, **body):
    """A request in a thread; the answer is in the list that is returned once the thread has ended."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.chat(text, **body)))
    thread.start()
    return thread, answers


def leave_while_painting(server):
    """Ask for a streamed picture and hang up in the middle of it."""
    server.painter.pace = 0.1
    body = {"messages": [{"role": "user", "content": "paint it red"}], "stream": True}
    with httpx.Client(trust_env=False) as client:
        answer = client.send(client.build_request("POST", f"{server.url}/v1/chat/completions", json=body), stream=True)
        next(line for line in answer.iter_lines() if line.startswith(": painting 1/"))
        answer.close()


def left_alone(server):
    server.wait(lambda: server.http.get("/health").json()["running"] == 0)
    return server.figure("llmga_clients_left_total"), server.figure("llmga_steps_after_leaving_sum")


def test_a_client_that_leaves_a_stream_stops_its_work_within_a_step(running):
    server = running()
    leave_while_painting(server)
    left, steps = left_alone(server)
    assert left == 1 and steps <= 1 and server.painter.done < server.painter.total


def test_a_client_that_leaves_while_waiting_for_the_whole_stops_its_work(running):
    server = running()
    body = json.dumps({"messages": [{"role": "user", "content": "paint it red"}]}).encode()
    server.painter.pace, server.painter.total = 0.1, 50
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        line.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        assert server.painter.started.wait(60)
    left, steps = left_alone(server)
    assert left == 1 and steps <= 1 and server.painter.done < 10


@one_painter
def test_one_waits_for_the_painter_and_leaves_without_a_step(running):
    server = running("--at-once", "2")
    server.painter.pace, server.painter.total = 0.1, 8
    first, answers = post(server, "paint it red")
    assert server.painter.started.wait(60)
    body = {"messages": [{"role": "user", "content": "paint it blue"}], "stream": True}
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as answer,
    ):
        next(answer.iter_lines())
        time.sleep(0.2)
    first.join()
    assert answers[0].status_code == 200 and len(server.painter.calls) == 1


def test_beyond_the_bound_clients_are_told_when_to_come_again(running):
    server = running("--at-once", "1", "--line", "0", "--queue", "1")
    server.painter.pace = 0.2
    first = post(server, "paint it red")
    assert server.painter.started.wait(60)
    second = post(server, "paint it blue")
    server.wait(lambda: server.http.get("/health").json()["waiting"] == 1)
    refused = server.chat("paint it green")
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    for thread, answers in (first, second):
        thread.join()
        assert answers[0].status_code == 200
    assert server.figure("llmga_waiting_most") == 1 == server.figure("llmga_waiting_bound")


def test_pictures_of_requests_side_by_side_are_not_mixed_up(running):
    server = running("--at-once", "4")
    server.painter.pace = 0.01
    names = ["red", "green", "blue"] * 4
    asked = [post(server, f"paint it {name}") for name in names]
    for name, (thread, answers) in zip(names, asked, strict=True):
        thread.join()
        (image,) = answers[0].json()["choices"][0]["message"]["images"]
        assert image["revised_prompt"] == f"paint it {name}"


def test_at_the_end_what_is_at_work_is_finished_and_nothing_new_begun(running):
    server = running("--at-once", "1", "--line", "0")
    server.painter.pace = 0.2
    first, answers = post(server, "paint it red")
    assert server.painter.started.wait(60)
    waiting, refused = post(server, "paint it blue")
    server.wait(lambda: server.http.get("/health").json()["waiting"] == 1)
    server.server.servers[0].get_loop().call_soon_threadsafe(server.service.scheduler.close)
    waiting.join()
    assert refused[0].status_code == 503 and "retry-after" in refused[0].headers
    assert server.http.get("/health").json()["status"] == "closing"
    first.join()
    assert answers[0].json()["choices"][0]["message"]["images"]


def test_what_cannot_be_finished_is_given_back_as_far_as_it_is(running):
    server = running()
    server.painter.pace, server.painter.total = 0.05, 1000
    first, answers = post(server, "paint it red")
    assert server.painter.started.wait(60)
    server.server.servers[0].get_loop().call_soon_threadsafe(server.service.scheduler.stop)
    first.join()
    (choice,) = answers[0].json()["choices"]
    assert choice["finish_reason"] == "length" and choice["message"]["content"].startswith("Gladly.")
    assert choice["message"]["refusal"] == "the server is about to end; try again in a moment."


def test_pictures_that_end_with_the_server_are_to_be_asked_for_again(running):
    server = running()
    server.painter.pace, server.painter.total = 0.05, 1000
    answers = []

    def ask():
        answers.append(server.http.post("/sdapi/v1/txt2img", json={"prompt": "red"}))

    first = threading.Thread(target=ask)
    first.start()
    assert server.painter.started.wait(60)
    server.server.servers[0].get_loop().call_soon_threadsafe(server.service.scheduler.stop)
    first.join()
    assert answers[0].status_code == 503 and "retry-after" in answers[0].headers, answers[0].text


def running_now(server, count):
    server.wait(lambda: server.http.get("/health").json()["running"] == count)


@one_painter
def test_words_do_not_wait_for_pictures(running):
    server = running("--at-once", "1", "--line", "2", "--queue", "1")
    server.painter.pace, server.painter.total = 0.05, 10_000
    first = post(server, "paint it red")
    assert server.painter.started.wait(60)
    second = post(server, "paint it blue")
    running_now(server, 2)
    answer = server.chat("hello")
    assert answer.json()["choices"][0]["message"]["content"].strip() == "You said: hello"
    assert len(server.painter.calls) == 1 and not first[1] and not second[1]
    server.server.servers[0].get_loop().call_soon_threadsafe(server.service.scheduler.stop)
    for thread, answers in (first, second):
        thread.join()
        assert answers[0].status_code == 200


@one_painter
def test_clients_come_round_in_turn_at_the_painter_too(running):
    greedy, other = "sk-the-greedy-client", "sk-the-other-client"
    server = running("--line", "8", keys=(greedy, other))
    server.painter.pace, threads = 0.5, []
    for number, key in enumerate((greedy, greedy, greedy, other)):
        body = {"messages": [{"role": "user", "content": f"paint it {number}"}]}
        head = {"Authorization": f"Bearer {key}"}
        threads.append(threading.Thread(
            target=lambda body=body, head=head: server.http.post("/v1/chat/completions", json=body, headers=head)
        ))  # fmt: skip
        threads[-1].start()
        server.wait(lambda number=number: lock_of(server.service).waiting == number + 1)
    server.painter.pace = 0
    for thread in threads:
        thread.join()
    assert [call["prompt"][-1] for call in server.painter.calls] == ["0", "3", "1", "2"]
