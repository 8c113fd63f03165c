"""A journal's files between a kill and the resume: each of them left, lost, emptied, or an older copy of itself."""

import collections
import itertools
import signal
import time

from case import EXPECTED, ROWS, Case, need

PARTS = ("", "-wal", "-shm", ".lock")
# An older copy is of the same process, or of the one before it.
STATES = ("left", "lost", "emptied", "older", "oldest")
COMBINATIONS = list(itertools.product(STATES, repeat=len(PARTS)))
# What a refusal says can be done.
WAYS_OUT = ("--fresh", "put it", "put that", "put the", "name another file")


class Torn(Case):
    """A run that was killed, resumed, and killed again, with what its files were at three moments."""

    def __init__(self):
        super().__init__(cut=(), MAX_DESKTOPS_PER_REQUEST="1", WRITE_RATE="12/s")
        self.kept = {"lost": {}, "emptied": {part: b"" for part in PARTS}}
        process = self.start()
        self.wait(process, 2)
        process.kill()
        process.communicate()
        self.keep("oldest")
        process = self.start()
        self.wait(process, 3)
        process.send_signal(signal.SIGSTOP)
        self.keep("older")
        process.send_signal(signal.SIGCONT)
        self.wait(process, 5)
        process.kill()
        process.communicate()
        self.keep("left")
        self.service.truth()
        self.world = self.service.keep()

    def wait(self, process, writes):
        """Until so many writes were answered, and what the answers say is durable."""
        while sum(write.answered is not None for write in self.writes()) < writes:
            need(process.poll() is None, f"it ended after {len(self.writes())} writes")
            time.sleep(0.002)
        time.sleep(0.04)

    def path(self, part):
        return self.directory / f"{self.journal.name}{part}"

    def keep(self, state):
        self.kept[state] = {part: self.path(part).read_bytes() for part in PARTS if self.path(part).exists()}

    def begin(self, states):
        self.service.restore(self.world)
        self.said = []
        for path in self.directory.iterdir():
            if path != self.input:
                path.unlink()
        for part, state in zip(PARTS, states):
            data = self.kept[state].get(part)
            if data is not None:
                self.path(part).touch(mode=0o600)
                self.path(part).write_bytes(data)

    def files(self):
        """All but the index of the log, which whoever reads it makes anew, and a lock file that says nothing."""
        files = {path.name: path.read_bytes() for path in self.directory.iterdir()}
        return {name: data for name, data in files.items() if not name.endswith("-shm") and (data or not name.endswith(".lock"))}


def play(pool, states, is_full):
    """Each ends whole, or is refused in words and nothing is changed."""
    figures = collections.Counter({"combinations of a journal's files": 1})
    with pool.one() as case:
        case.begin(states)
        before = case.files()
        status = case.run(words=["status", str(case.journal)])
        need(status.code in (0, 2), f"status exits {status.code}: {status.err}")
        ended = case.run()
        is_refused = ended.code == 2
        if is_refused:
            figures["of these refused in words, and nothing changed"] += 1
            need(case.journal.name in ended.err and any(way in ended.err for way in WAYS_OUT), f"no words: {ended.err}")
            need(ended.writes == 0 and case.files() == before, f"refused, and something was sent or changed: {ended.err}")
            need(status.code == 2, f"refused, but a status says {status.out}")
            if not is_full:
                return figures
            if states[0] == "emptied":
                case.journal.unlink()  # nothing in it tells that it was a journal: it is for a person to take away
            ended = case.run(args=["--fresh"])
        need(ended.code == 1, f"it exits {ended.code}: {ended.err[-2000:]}")
        outcomes, truth, lost = case.read_results(), case.service.truth(), 0
        for row in ROWS:
            lost += outcomes[row] == "already_detached" != EXPECTED[row]
            need(outcomes[row] in (EXPECTED[row], "already_detached"), f"p02: {row} is {outcomes[row]}")
            bound = row[1] in {one.name for one in truth[row[0]]}
            need(bound == (outcomes[row] == "failed"), f"p02: {row} is {outcomes[row]}, and bound: {bound}")
        case.check_history(0)
        case.check_secrets()
        figures["rows checked"] += len(ROWS)
        if not is_refused:
            # Older files that go together, and no lock file that knows better: nothing tells them from a run that was
            # killed earlier.
            is_older = states[3] != "left" and (states[0] not in ("left", "older") or states[1] != "left")
            need(lost == 0 or is_older, f"p16: {lost} rows are lost, and nobody says so")
            figures["of these ended whole"] += lost == 0
            figures["of these gone on with as an older state, which nothing tells from a kill"] += lost > 0
    return figures
