# SPDX-License-Identifier: GPL-2.0-only
"""What dask-kubernetes asks of a Kubernetes that has the Dask operator. Pods are processes here.

Only the API, its storage and the node are played: the client, the operator's own making of a
worker's deployment, and what runs in the pods are the real ones.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from farm_support import Processes

CLUSTERS = "/apis/kubernetes.dask.org/v1/namespaces/default/daskclusters"


class Kubernetes(ThreadingHTTPServer):
    """An API server on this machine, with one node."""

    daemon_threads = True

    def __init__(self, pods: Processes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pods, self.posted = pods, list[dict[str, Any]]()
        self.live: dict[str, dict[str, Any]] = {}

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """As the operator does: a scheduler with a service, and workers."""
        from dask_kubernetes.operator.controller.controller import build_worker_deployment_spec

        name, spec = asked["metadata"]["name"], asked["spec"]
        (scheduler,) = spec["scheduler"]["spec"]["containers"]
        place = ["--port", str(self.pods.port), "--no-dashboard"]
        self.pods.start("scheduler", [*scheduler["args"], *place], environment(scheduler))
        for number in range(spec["worker"]["replicas"]):
            deployment = build_worker_deployment_spec(
                *(f"{name}-default", "default", name, str(number)),
                *(spec["worker"]["spec"], {}, {}),
            )
            (worker,) = deployment["spec"]["template"]["spec"]["containers"]
            env = environment(worker)
            assert env["DASK_SCHEDULER_ADDRESS"].startswith(f"tcp://{name}-scheduler.default.")
            words = [
                word.replace("$(DASK_WORKER_NAME)", env["DASK_WORKER_NAME"])
                for word in worker["args"]
            ]
            mine = {
                "DASK_SCHEDULER_ADDRESS": self.pods.address,
                "XIPMATRIX_CACHE": str(self.pods.cache(f"pod{number}")),
                "XIPMATRIX_INSTALL": "no",
            }
            self.pods.start(f"pod{number}", words, env | mine)
        self.posted.append(asked)
        self.live[name] = asked | {"status": {"phase": "Running"}}
        return self.live[name]

    def delete(self, name: str) -> None:
        del self.live[name]
        self.pods.end()

    def metadata(self) -> dict[str, str]:
        """Of the scheduler's pod and service."""
        (name,) = self.live
        return {"name": f"{name}-scheduler", "namespace": "default"}

    def pod(self) -> dict[str, Any]:
        ready = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]
        return {"metadata": self.metadata(), "status": {"phase": "Running", "conditions": ready}}

    def service(self) -> dict[str, Any]:
        ports = [
            {"name": "tcp-comm", "port": self.pods.port},
            {"name": "http-dashboard", "port": self.pods.port},
        ]
        return {
            "metadata": self.metadata(),
            "spec": {"type": "LoadBalancer", "ports": ports, "selector": {"one": "it"}},
            "status": {"loadBalancer": {"ingress": [{"ip": self.pods.host}]}},
        }


def environment(container: dict[str, Any]) -> dict[str, str]:
    """What a container's programs see, in an image that has this environment's."""
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return path | {one["name"]: one["value"] for one in container["env"] or ()}


class Handler(BaseHTTPRequestHandler):
    server: Kubernetes

    @property
    def place(self) -> str:
        """What is asked for: the path without selectors."""
        return urlsplit(self.path).path.rstrip("/")

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.place
        name = path.rpartition("/")[2]
        if path == "/version":
            self.answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
        elif path == CLUSTERS:
            self.answer(200, {"items": list(self.server.live.values())})
        elif path == f"{CLUSTERS}/{name}" and name in self.server.live:
            self.answer(200, self.server.live[name])
        elif self.server.live and (kind := path.split("/")[5:6]) in (["pods"], ["services"]):
            one = self.server.pod() if kind == ["pods"] else self.server.service()
            self.answer(200, {"items": [one]} if name == kind[0] else one)
        else:
            self.answer(404, {"message": f"{path} not found"})

    def do_POST(self) -> None:
        assert self.place == CLUSTERS
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, self.server.create(asked))

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.delete(self.place.rpartition("/")[2])
        self.answer(200, {"status": "Success"})


@contextmanager
def kubernetes(folder: Path) -> Iterator[tuple[Kubernetes, Path]]:
    """It and a kubeconfig that names it."""
    pods = Processes(folder)
    server = Kubernetes(pods)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [where],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "now", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "now",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield server, path
    finally:
        server.shutdown()
        server.server_close()
        pods.end()
