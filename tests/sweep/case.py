"""One directory, one service, and the program run in it as often as it takes; and what must be true of that."""

import collections
import contextlib
import csv
import json
import os
import pathlib
import queue
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import time

from service import Binding, Desktop, Service

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("BATCH_DETACH", ROOT / "target/debug/batch-detach"))
# In every run's environment, and nowhere else ever.
CANARY = "canary-5f0c2b7e9a41"
DOUBT_WAIT = 0.45
# How long one process may take, in seconds.
PATIENCE = 30
REFUSED = "WKS.00010199"
SETTINGS = {
    "WRITE_RATE": "40/s",
    "READ_RATE": "100/s",
    "SETTLE_TIME": "100ms",
    "POLL_INTERVAL": "50ms",
    "DOUBT_WAIT": f"{int(DOUBT_WAIT * 1000)}ms",
    "BUSY_WAIT": "200ms",
    "RETRY_BASE": "30ms",
    "DRAIN_TIME": "1s",
    "OUTAGE_LIMIT": "20s",
    "MAX_DESKTOPS_PER_REQUEST": "2",
}
ROWS = [(f"d-{desktop}", f"u{desktop}{letter}") for desktop in range(1, 7) for letter in "ab"]
EXPECTED = {
    row: "failed" if row[0] == "d-3" else "already_detached" if row == ("d-5", "u5b") else "detached" for row in ROWS
}


class Broken(Exception):
    """A promise was not kept."""


def need(holds, what):
    if not holds:
        raise Broken(what)


Ended = collections.namedtuple("Ended", "code out err writes")


class Case:
    """`cut`: numbers of the writes whose answer is lost; `settings`: others than usual."""

    def __init__(self, cut=(2,), directory=None, **settings):
        self.settings = SETTINGS | settings
        self.owned = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="sweep-"))
        world = {
            f"d-{n}": Desktop(f"PC-{n}", [Binding("USER", f"u{n}{letter}", f"id-{n}{letter}") for letter in "ab"])
            for n in range(1, 7)
        }
        world["d-3"].refuses = REFUSED
        world["d-4"].pooled = True
        people = [binding for desktop in world.values() for binding in desktop.bound]
        world["d-5"].bound.pop()
        self.service = Service(world, cut, people)
        self.input = self.directory / "leavers.csv"
        self.results = self.directory / "leavers.results.csv"
        self.journal = self.directory / "leavers.results.csv.journal"
        lines = [f"{desktop},{user},note {user}\n" for desktop, user in ROWS]
        self.input.write_text("desktop_id,user_name,note\n" + "".join(lines))
        self.settled = set()  # rows that the journal holds an outcome of, as the last process left it
        self.earlier = set()  # intents of runs whose journal stands elsewhere
        self.said = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.service.close()
        if self.owned:
            shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self):
        variables = {f"BATCH_DETACH_{name}": value for name, value in self.settings.items()}
        return variables | {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "BATCH_DETACH_ENDPOINT": self.service.url,
            "BATCH_DETACH_PROJECT_ID": "project-1",
            "HW_AUTH_TOKEN": CANARY,
            "RUST_LOG": "trace",
        }

    def start(self, strace=(), args=(), source=None, program=PROGRAM, words=None, **options):
        command = [str(program), *(words or ["run", str(source or self.input), "--yes", "-vv", *args])]
        if strace:
            command = ["strace", "-f", "-qqq", "-e", "signal=none", *strace, "--", *command]
        pipe = subprocess.PIPE
        options = {"env": self.environment(), "cwd": self.directory} | options
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **options)

    def run(self, strace=(), args=(), **options):
        before = self.service.writes
        process = self.start(strace, args, **options)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise Broken(f"it hung for {PATIENCE} s: {err[-2000:]}") from None
        self.said += [out, err]
        need(process.returncode != 70 and "internal fault" not in err, f"a fault of the program itself: {err[-2000:]}")
        return Ended(process.returncode, out, err, self.service.writes - before)

    def paths(self):
        """Options for strace that look at the journal's own files alone."""
        return [word for end in ("", "-wal", "-shm") for word in ("-P", f"{self.journal}{end}")]

    def look(self, wanted=ROWS):
        """What a stop left: a journal that is whole or absent, results that are whole or absent, no blind send.

        `wanted`: the rows that results must have."""
        self.settled = set()
        intents = set(self.earlier)
        if self.journal.exists():
            with tempfile.TemporaryDirectory(prefix="sweep-copy-") as copy:
                journal = opened(self.journal, copy)
                word = journal.execute("PRAGMA integrity_check").fetchone()[0]
                need(word == "ok", f"integrity_check says {word}")
                intents |= {sha for (sha,) in journal.execute("SELECT body_sha256 FROM attempt")}
                items = {id: json.loads(body) for id, body in journal.execute("SELECT id, body FROM item")}
                for carries, body in journal.execute("SELECT carries, body FROM settled"):
                    if json.loads(body)[0] not in ("unknown", "not_sent"):
                        for item, slots in (carried.split(":") for carried in carries.split(";")):
                            _, desktop, _, _, users, *_ = items[int(item)]
                            self.settled |= {(desktop, users[slot][1]) for slot in numbers(slots)}
                journal.close()
            need(stat.S_IMODE(self.journal.stat().st_mode) == 0o600, "p19: others may read the journal")
        for write in self.writes():
            need(write.sha256 in intents, f"p04: a body left without its intent: {write.body}")
        if self.results.exists():
            self.read_results(wanted)

    def writes(self):
        with self.service.lock:
            return [received for received in self.service.log if received.is_write]

    def read_results(self, wanted=ROWS):
        with open(self.results, newline="") as file:
            records = list(csv.DictReader(file))
        need([(r["desktop_id"], r["user_name"]) for r in records] == list(wanted), f"p01, p14: the results are {records}")
        need(all(r["note"] == f"note {r['user_name']}" for r in records), "p01: a column of the input is lost")
        return {(r["desktop_id"], r["user_name"]): r["outcome"] for r in records}

    def resume(self, strace=(), args=(), code=1):
        """Goes on; what was settled must not be sent again."""
        settled, seen = set(self.settled), len(self.writes())
        ended = self.run(strace, args)
        for write in self.writes()[seen:]:
            again = settled & set(write.bindings())
            need(not again, f"p03: settled, and sent again: {sorted(again)}")
        if code is not None:
            need(ended.code == code, f"the resume exits {ended.code}: {ended.err[-2000:]}")
        return ended

    def check(self):
        """Row by row, once the run has come to its end."""
        self.look()
        outcomes, truth = self.read_results(), self.service.truth()
        for row in ROWS:
            bound = any(binding.name == row[1] for binding in truth[row[0]])
            need(outcomes[row] == EXPECTED[row], f"p02: {row} is {outcomes[row]} instead of {EXPECTED[row]}")
            need(bound == (outcomes[row] == "failed"), f"p02: {row} is {outcomes[row]}, and bound: {bound}")
        self.check_history()
        self.check_secrets()
        left = {path.name for path in self.directory.iterdir()}
        extra = left - {self.input.name, self.results.name, self.journal.name, self.journal.name + ".lock"}
        need(not extra, f"left over: {sorted(extra)}")
        return len(ROWS)

    def check_history(self, doubt_wait=DOUBT_WAIT):
        """P5, P6 and P7 by the service's own log."""
        with self.service.lock:
            log = list(self.service.log)
        last = {}
        for received in (one for one in log if one.is_write):
            for entry in json.loads(received.body)["desktops"]:
                need(entry["is_detach_all_users"] is False and entry["detach_user_infos"], "p05: everybody is named")
            for binding in received.bindings():
                need(binding in EXPECTED and EXPECTED[binding] != "already_detached", f"p05: not planned: {binding}")
                before = last.get(binding)
                if before is not None:
                    need(before.ended is not None and before.ended <= received.came, f"p06: two at once: {binding}")
                    # The program counts from before the send; on a busy machine that is a while before it came.
                    wait = 0 if before.answered else doubt_wait - 0.3
                    reads = [
                        read
                        for read in log
                        if before.came + wait <= read.came <= received.came and binding[1] in read.shown.get(binding[0], ())
                    ]
                    need(reads, f"p07: repeated without a read that shows it bound: {binding}")
                last[binding] = received

    def check_secrets(self):
        """The canary is in no byte that was written."""
        for path in self.directory.rglob("*"):
            if path.is_file():
                need(CANARY.encode() not in path.read_bytes(), f"p19: the canary is in {path.name}")
        need(not any(CANARY in text for text in self.said), "p19: the canary is on the screen")


def opened(journal, folder):
    """A copy of a journal as a database."""
    for end in ("", "-wal", "-journal"):
        if os.path.exists(f"{journal}{end}"):
            shutil.copy(f"{journal}{end}", f"{folder}/j{end}")
    return sqlite3.connect(f"{folder}/j")


def run_id(journal):
    with tempfile.TemporaryDirectory(prefix="sweep-copy-") as copy:
        database = opened(journal, copy)
        identity = json.loads(database.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0])
        database.close()
        return identity["run_id"]


class Pool:
    """Things that are dear to make, each used by one at a time."""

    def __init__(self, make):
        self.make, self.free = make, queue.SimpleQueue()

    @contextlib.contextmanager
    def one(self):
        try:
            it = self.free.get_nowait()
        except queue.Empty:
            it = self.make()
        yield it  # one in which a promise was broken is not used again
        self.free.put(it)

    def close(self):
        while not self.free.empty():
            self.free.get().__exit__()


def numbers(text):
    """`0-3,7`"""
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def seconds(since):
    return f"{time.monotonic() - since:.0f} s"
