"""A true cluster of this machine: what only its own processes, its proxy and their ends can show."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.slow
PACE = 0.1  # seconds of a step


@pytest.fixture
def cluster(ray_cluster):
    ray_cluster.board(PACE)
    return ray_cluster


def test_words_and_pictures_come_from_both_of_their_replicas(cluster):
    planners = {cluster.words(f"process of {number}") for number in range(12)}
    with ThreadPoolExecutor(6) as clients:
        painters = set(clients.map(cluster.colour, ["the process"] * 12))
    assert len(planners) == len(painters) == 2


def test_a_conversation_stays_with_its_replica(cluster):
    said = ["process of anna"]
    for _ in range(4):
        said += [cluster.words(*said), "process"]
    assert len(set(said[1::2])) == 1


def test_a_stream_comes_piece_by_piece_with_its_progress(cluster):
    lines = cluster.chat("paint it red", stream=True).text.splitlines()
    assert [line for line in lines if line.startswith(": painting")] == [
        f": painting {step}/4" for step in (1, 2, 3, 4)
    ]
    assert lines[-2] == "data: [DONE]" or "data: [DONE]" in lines
    assert any('"images"' in line for line in lines)


def test_a_client_that_leaves_stops_its_replica(cluster):
    body = {"messages": [{"role": "user", "content": "paint it red"}], "stream": True}
    with cluster.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(line for line in answer.iter_lines() if line.startswith(": painting 1/"))
    cluster.idle()
    figures = cluster.http.get("/metrics").text.splitlines()
    late = next(float(line.split()[-1]) for line in figures if line.startswith("llmga_steps_after_leaving_sum "))
    assert late <= 1


def test_beyond_the_bound_clients_are_told_when_to_come_again(cluster):
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(cluster.chat, ["paint it blue"] * 16))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused) and len(refused) < 16
    cluster.idle()


def test_the_door_refuses_what_is_too_long_too_much_or_under_another_name(cluster):
    assert cluster.http.post("/v1/chat/completions", content=b" " * 1_000_001).status_code == 413
    assert cluster.http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    lines = [socket.create_connection(("127.0.0.1", cluster.port)) for _ in range(30)]
    lines[-1].settimeout(30)
    assert b" 429 " in lines[-1].recv(100)
    for line in lines:
        line.close()


@pytest.mark.parametrize("kind", ["Painter", "Planner"])
def test_requests_outlive_a_replica_that_is_killed(cluster, kind):
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(cluster.chat, f"paint {number} red") for number in range(8)]
        time.sleep(0.3)
        os.kill(cluster.replicas(kind)[0], signal.SIGKILL)
        for answer in answers:
            answer = answer.result()
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200:
                assert len(answer.json()["choices"][0]["message"]["images"]) == 1
            else:
                assert "retry-after" in answer.headers


def test_where_the_application_is_killed_clients_are_told_to_come_again(cluster):
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(cluster.chat, "paint it red") for _ in range(2)]
        time.sleep(0.2)
        os.kill(cluster.replicas("Ingress")[0], signal.SIGKILL)
        for answer in (each.result() for each in answers):
            assert answer.status_code == 200 or (answer.status_code == 503 and "retry-after" in answer.headers)
    assert cluster.words("hello") == "You said: hello "
