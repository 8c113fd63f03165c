"""A small Workspace API on loopback, written apart from the program's own simulator.

It keeps what a witness needs: every request with the time it came and went, and who is bound to what, in truth.
"""

import collections
import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# From an accepted detach until the binding goes, and how long a pool's job runs, in seconds.
LAG = 0.12
JOB = 0.25

Binding = collections.namedtuple("Binding", "kind name user_id")


class Desktop:
    def __init__(self, name, bound, pooled=False, refuses=None):
        self.name, self.bound, self.pooled, self.refuses = name, list(bound), pooled, refuses
        self.leaving = []  # (when, binding)
        self.coming = []

    def advance(self, now):
        for when, binding in list(self.leaving):
            if when <= now:
                self.leaving.remove((when, binding))
                if binding in self.bound:
                    self.bound.remove(binding)
        for when, binding in list(self.coming):
            if when <= now:
                self.coming.remove((when, binding))
                if binding not in self.bound:
                    self.bound.append(binding)


class Received:
    """One request: when it had come whole, what it asked, when its answer was out (`None`: not yet, or cut)."""

    def __init__(self, method, path, query, body):
        self.method, self.path, self.query, self.body = method, path, query, body
        self.came = time.monotonic()
        self.answered = None
        self.ended = None
        self.shown = {}  # desktop -> bindings that the answer told

    @property
    def is_write(self):
        return self.method == "POST"

    @property
    def sha256(self):
        return hashlib.sha256(self.body).hexdigest()

    def bindings(self):
        """`(desktop, user name)` of each binding that a write asks for."""
        for desktop in json.loads(self.body)["desktops"]:
            for user in desktop.get("detach_user_infos", desktop.get("attach_user_infos", [])):
                yield desktop["desktop_id"], user["user_name"]


class Service:
    """`cut`: numbers of the writes (from 1) whose connection is closed after they were executed; `people`: bindings of all
    users of the project, bound or not."""

    def __init__(self, desktops, cut=(), people=()):
        self.desktops, self.cut = desktops, set(cut)
        self.users = [{"id": one.user_id, "user_name": one.name} for one in people]
        self.start = {id: list(desktop.bound) for id, desktop in desktops.items()}
        self.lock = threading.Lock()
        self.log = []
        self.jobs = {}
        self.writes = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                service.handle(self, b"")

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) == length:  # one that was cut on the way was never received
                    service.handle(self, body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # the other side was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def keep(self):
        """All that `restore` needs to begin again from here."""
        with self.lock:
            world = {id: (list(one.bound), one.refuses) for id, one in self.desktops.items()}
            return world, list(self.log), dict(self.jobs), self.writes

    def restore(self, kept):
        world, log, jobs, writes = kept
        with self.lock:
            for id, (bound, refuses) in world.items():
                desktop = self.desktops[id]
                desktop.bound, desktop.refuses, desktop.leaving, desktop.coming = list(bound), refuses, [], []
            self.log, self.jobs, self.writes = list(log), dict(jobs), writes

    def truth(self):
        """Who is bound to what once all that was accepted has happened."""
        time.sleep(max(LAG, JOB) + 0.05)
        with self.lock:
            now = time.monotonic()
            for desktop in self.desktops.values():
                desktop.advance(now)
            return {id: list(desktop.bound) for id, desktop in self.desktops.items()}

    def handle(self, request, body):
        url = urllib.parse.urlsplit(request.path)
        query = urllib.parse.parse_qs(url.query)
        received = Received(request.command, url.path, query, body)
        with self.lock:
            for desktop in self.desktops.values():
                desktop.advance(received.came)
            self.log.append(received)
            if received.is_write:
                self.writes += 1
            cut = received.is_write and self.writes in self.cut
            status, answer = self.answer(received)
        if cut:
            received.ended = time.monotonic()
            request.close_connection = True
            return
        text = json.dumps(answer).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.send_header("X-Request-Id", f"request-{len(self.log)}")
            request.end_headers()
            request.wfile.write(text)
            received.answered = time.monotonic()
        except OSError:
            request.close_connection = True
        received.ended = time.monotonic()

    def answer(self, received):
        parts = received.path.strip("/").split("/")[2:]  # behind v2 and the project
        if received.is_write and parts == ["desktops", "batch-detach"]:
            return 200, self.detach(received)
        if received.is_write and parts == ["desktops", "batch-attach"]:
            return 200, self.attach(received)
        if parts == ["desktops", "detail"]:
            wanted = received.query.get("desktop_id")
            ids = [id for id in self.desktops if wanted is None or id in wanted]
            start, limit = int(received.query.get("offset", ["0"])[0]), int(received.query.get("limit", ["100"])[0])
            page = [self.show(id, received) for id in ids[start : start + limit]]
            return 200, {"desktops": page, "total_count": len(ids)}
        if len(parts) == 2 and parts[0] == "desktops" and parts[1] in self.desktops:
            return 200, {"desktop": self.show(parts[1], received)}
        if len(parts) == 2 and parts[0] == "workspace-jobs" and parts[1] in self.jobs:
            return 200, self.job(parts[1], received.came)
        if parts == ["workspace-sub-jobs"]:
            job = received.query.get("job_id", [""])[0]
            subs = self.job(job, received.came)["sub_jobs"] if job in self.jobs else []
            return 200, {"jobs": subs, "total_count": len(subs)}
        start = int(received.query.get("offset", ["0"])[0])
        if parts == ["desktop-pools"]:
            return 200, {"desktop_pools": [{"id": "pool-1", "name": "Pool 1"}][start:], "total_count": 1}
        if len(parts) == 3 and parts[0] == "desktop-pools" and parts[2] == "users":
            # The first of the users, whatever became of him.
            one = [{"object_type": "USER", "object_id": user["id"], "object_name": user["user_name"]} for user in self.users]
            return 200, {"objects": one[start:1], "total_count": len(one[:1])}
        if len(parts) == 3 and parts[0] == "groups" and parts[2] == "users":
            return 200, {"users": [], "total_count": 0}
        if parts == ["users"]:
            return 200, {"users": self.users[start:], "total_count": len(self.users)}
        return 404, {"error_code": "WKS.0202", "error_msg": "not found"}

    def show(self, id, received):
        desktop = self.desktops[id]
        received.shown[id] = [binding.name for binding in desktop.bound]
        return {
            "desktop_id": id,
            "computer_name": desktop.name,
            "status": "HIBERNATED" if desktop.refuses else "ACTIVE",
            "task_status": "",
            "attach_state": "ATTACHED" if desktop.bound else "UNATTACH",
            "login_status": "REGISTERED",
            "desktop_type": "POOLED" if desktop.pooled else "SHARED",
            "pool_id": "pool-1" if desktop.pooled else None,
            "user_name": desktop.bound[0].name if desktop.bound else "",
            "attach_user_infos": [
                {"user_id": one.user_id, "user_name": one.name, "user_group": "users", "type": one.kind}
                for one in desktop.bound
            ],
        }

    def detach(self, received):
        failed, pooled, now = [], [], received.came
        for entry in json.loads(received.body)["desktops"]:
            id = entry["desktop_id"]
            desktop = self.desktops.get(id)
            if desktop is None or desktop.refuses:
                code = desktop.refuses if desktop else "WKS.0202"
                failed.append({"desktop_id": id, "error_code": code, "error_msg": "the desktop can't do this now"})
                continue
            named = {user["user_name"] for user in entry.get("detach_user_infos", [])}
            for binding in desktop.bound:
                if entry["is_detach_all_users"] or binding.name in named:
                    desktop.leaving.append((now + (JOB if desktop.pooled else LAG), binding))
            if desktop.pooled:
                pooled.append(id)
        answer = {"failed_operation_list": failed, "success_job_ids": []}
        if pooled:
            answer["job_id"] = f"job-{len(self.jobs) + 1}"
            self.jobs[answer["job_id"]] = (now + JOB, pooled)
        return answer

    def attach(self, received):
        desktops = json.loads(received.body)["desktops"]
        known = {user["user_name"]: user["id"] for user in self.users}
        for entry in desktops:
            for user in entry["attach_user_infos"]:
                binding = Binding(user["type"], user["user_name"], known[user["user_name"]])
                self.desktops[entry["desktop_id"]].coming.append((received.came + JOB, binding))
        job = f"job-{len(self.jobs) + 1}"
        self.jobs[job] = (received.came + JOB, [entry["desktop_id"] for entry in desktops])
        return {"job_id": job}

    def job(self, id, now):
        ends, desktops = self.jobs[id]
        status = "SUCCESS" if ends <= now else "RUNNING"
        subs = [
            {"status": status, "entities": {"desktop_id": desktop}, "error_code": "", "fail_reason": ""}
            for desktop in desktops
        ]
        return {"job_id": id, "status": status, "sub_jobs": subs, "sub_jobs_total": len(subs)}
