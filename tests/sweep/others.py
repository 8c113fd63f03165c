"""The other commands, killed at their calls: a fresh start, an undo, a report, a plan that writes its results."""

import collections
import json

from case import DOUBT_WAIT, EXPECTED, ROWS, Case, need, run_id

TAKEN_BACK = [row for row in ROWS if EXPECTED[row] == "detached"]


class Finished(Case):
    """A run that has come to its end. Its files and the service's world are kept: each command begins upon them."""

    def __init__(self):
        super().__init__(cut=())
        self.bound = self.service.keep()
        self.alone = self.files()
        ended = self.run()
        need(ended.code == 1, f"undisturbed it exits {ended.code}: {ended.err}")
        self.service.truth()
        self.detached, self.whole = self.service.keep(), self.files()
        self.run_journal, self.old_id = self.journal, run_id(self.journal)

    def files(self):
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def begin(self, files, world):
        self.service.restore((*world[:1], [], {}, 0))
        for path in self.directory.iterdir():
            path.unlink()
        for name, data in files.items():
            (self.directory / name).touch(mode=0o600)
            (self.directory / name).write_bytes(data)
        self.said, self.settled, self.earlier = [], set(), set()
        self.journal, self.results = self.run_journal, self.directory / "leavers.results.csv"

    def only(self, *names):
        left = {path.name for path in self.directory.iterdir()} - {f"{self.journal.name}.lock"}
        need(left <= set(names), f"left over: {sorted(left - set(names))}")

    def again(self, words, code):
        ended = self.run(words=words)
        need(ended.code == code, f"once more, and it exits {ended.code} instead of {code}: {ended.err[-2000:]}")
        return ended


def fresh(case, deadly):
    """The older run is whole, in its place or aside; the new one is resumed, or begun once more."""
    case.begin(case.whole, case.bound)
    words = ["run", str(case.input), "--yes", "-vv", "--fresh"]
    ended = case.run(deadly, words=words)
    killed = ended.code == -9
    aside = case.directory / f"leavers.results.{case.old_id}.csv"

    def old(name, data):
        paths = [case.directory / name, case.directory / name.replace(".results.csv", f".results.{case.old_id}.csv")]
        found = [path for path in paths if path.exists() and path.read_bytes() == data]
        need(found, f"p14: {name} of the older run is lost")
        return found

    for name, data in case.whole.items():
        old(name, data)
    is_new = case.journal.exists() and run_id(case.journal) != case.old_id
    if is_new:
        case.look()
    goes_on = is_new and len(case.service.log) % 2 == 0
    if killed:
        ended = case.resume() if goes_on else case.again(words, 1)
    need(ended.code == 1, f"it exits {ended.code}: {ended.err[-2000:]}")
    need(aside.read_bytes() == case.whole[case.results.name], "p14: the older results are not aside")
    need((aside.parent / f"{aside.name}.journal").read_bytes() == case.whole[case.journal.name], "p14: nor its journal")
    outcomes, truth = case.read_results(), case.service.truth()
    for row in ROWS:
        # What the killed one had done already is found done.
        wanted = {EXPECTED[row]} if goes_on or not killed else {EXPECTED[row], "already_detached"} - {"failed"} or {"failed"}
        wanted = {"failed"} if EXPECTED[row] == "failed" else wanted
        need(outcomes[row] in wanted, f"p02: {row} is {outcomes[row]}")
        need((row[1] in {one.name for one in truth[row[0]]}) == (outcomes[row] == "failed"), f"p02: {row}: {outcomes[row]}")
    case.check_history(DOUBT_WAIT if goes_on else 0)
    case.check_secrets()
    return killed


def undo(case, deadly):
    """Every binding comes back once; what is attached is not attached again; the run is not resumed."""
    case.begin(case.whole, case.detached)
    words = ["undo", str(case.run_journal), "--yes", "-vv"]
    case.results, case.journal = case.directory / "leavers.undo.csv", case.directory / "leavers.undo.csv.journal"
    killed = case.run(deadly, words=words).code == -9
    case.look(TAKEN_BACK)
    settled, seen = set(case.settled), len(case.writes())
    case.again(words, 0)
    for write in case.writes()[seen:]:
        need(not settled & set(write.bindings()), "p03: settled, and sent again")
    outcomes, truth = case.read_results(TAKEN_BACK), case.service.truth()
    for row in ROWS:
        bound = [one.name for one in truth[row[0]]].count(row[1])
        need(bound == (EXPECTED[row] != "already_detached"), f"p02: {row} is bound {bound} times")
    need(set(outcomes.values()) <= {"attached", "already_attached"}, f"p02: {outcomes}")
    last = {}
    for received in case.service.log:
        for binding in received.bindings() if received.is_write else ():
            need(binding in TAKEN_BACK, f"p05: not planned: {binding}")
            need(json.loads(received.body)["desktops"][0]["is_clear_data"] is False, "p05: user data is cleared")
            before = last.get(binding)
            need(not before or before.ended is not None and before.ended <= received.came, f"p06: two at once: {binding}")
            reads = [
                read for read in case.service.log
                if before and before.came <= read.came <= received.came and binding[0] in read.shown
                and binding[1] not in read.shown[binding[0]]
            ]  # fmt: skip
            need(not before or reads, f"p07: repeated without a read that shows it unbound: {binding}")
            last[binding] = received
    seen = len(case.writes())
    case.run()
    need(len(case.writes()) == seen, "a run that was taken back goes on")
    case.check_secrets()
    case.only(*case.whole, case.results.name, case.journal.name)
    return killed


def report(case, deadly):
    """The page is whole or absent, and nothing else is touched."""
    case.begin(case.whole, case.detached)
    words, page = ["report", str(case.journal)], case.directory / "leavers.report.html"
    killed = case.run(deadly, words=words).code == -9
    need(not page.exists() or page.read_text().rstrip().endswith("</html>"), "p14: a part of a page")
    need(all((case.directory / name).read_bytes() == data for name, data in case.whole.items()), "a file was changed")
    case.again(words, 0)
    need(page.read_text().rstrip().endswith("</html>"), "p14: a part of a page")
    need(not case.service.log, "a report asks the service")
    case.check_secrets()
    case.only(*case.whole, page.name)
    return killed


def plan(case, deadly):
    """Its results are whole or absent, and nothing is sent."""
    case.begin(case.alone, case.bound)
    words = ["plan", str(case.input), "--results", str(case.results), "-vv"]

    def planned():
        outcomes = set(case.read_results().values())
        need(outcomes == {"planned", "already_detached"}, f"p02: a plan says {outcomes}")

    killed = case.run(deadly, words=words).code == -9
    if case.results.exists():
        planned()
    case.again(words, 0)
    planned()
    need(not case.writes(), "p05: a plan writes")
    case.check_secrets()
    case.only(*case.alone, case.results.name)
    return killed


COMMANDS = {play.__name__: play for play in (fresh, undo, report, plan)}


def kill(pool, command, name, n):
    """Killed at the n-th call `name`, and given once more."""
    call = ["-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={n}"] if name else []
    with pool.one() as case:
        killed = COMMANDS[command](case, call)
    what = f"calls of `{command}` killed at" if killed else f"calls that this `{command}` did not come to"
    return collections.Counter({what: 1, "rows checked": 0 if command == "report" else len(ROWS)})
