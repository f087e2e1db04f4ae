"""A trained policy behind HTTP, for many sessions at once: each has a memory of its own, and one set of parameters.

Train something, serve it, and ask for actions; a session begins with its first request:
    memorax train --environment gymnax::CartPole-v1 --total-steps 2e5 --folder runs/cartpole
    python examples/serve_policy.py runs/cartpole --port 8000
    curl localhost:8000/act -d '{"session": "ann", "observation": [0, 0, 0, 0], "reward": 0, "done": true}'
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import tyro

import memorax

MOST_SESSIONS = 10_000


def make_server(policy: memorax.deployment.Policy, port: int) -> ThreadingHTTPServer:
    """A server of a policy on this machine; port 0 is any that is free."""
    carries: OrderedDict[str, dict] = OrderedDict()  # what each session remembers, the last used at the end
    lock = threading.Lock()

    def act(session: str, observation: list, reward: float = 0.0, done: bool = False) -> list | int | float:
        """The action of a session; `done` says whether the observation is the first of an episode."""
        observed = np.asarray(observation, policy.observation_space.dtype)
        with lock:
            policy.reset()
            if session in carries:
                policy.carry = carries.pop(session)
            action = policy(observed, reward, done)
            carries[session] = policy.carry
            if len(carries) > MOST_SESSIONS:
                carries.popitem(last=False)
        return action.tolist()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, answer = 200, {"action": act(**json.loads(body))}
            except (ValueError, TypeError) as error:  # not JSON, another shape, a field that is missing
                status, answer = 400, {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Print no line for each request."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main(run: tyro.conf.Positional[str], port: int = 8000) -> None:
    """Serve the policy of a run, or of a folder that `memorax export` wrote, until Ctrl-C."""
    policy = memorax.load_policy(run)
    policy(np.zeros(policy.observation_space.shape, policy.observation_space.dtype))  # compiles
    with make_server(policy, port) as server:
        print(f"ready: http://127.0.0.1:{server.server_port}/act", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    tyro.cli(main)
