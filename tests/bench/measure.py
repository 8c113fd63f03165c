"""Measures whole processes against the targets of tests/bench/README.md, in pairs with what others would use.

usage: measure.py PROGRAM SERVER FOLDER [--peers PYTHON] [--runs N] [TARGET ...]

PROGRAM: the release build; SERVER: the built bench `server`; FOLDER: where inputs and journals go, on a real disk.
PYTHON: an interpreter with polars and huaweicloudsdkworkspace. TARGET: plan, large-plan, run, ceiling, floor, small,
idle, journals; all of them where none is named.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, time, urllib.error, urllib.request

HERE = pathlib.Path(__file__).parent
PORT = 18099
KEYS = {"HUAWEICLOUD_SDK_AK": "AKTEST", "HUAWEICLOUD_SDK_SK": "SKTEST"}


def measure(command, **options):
    """Wall and CPU seconds, peak memory in MiB, exit code."""
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **KEYS}
    began = time.monotonic()
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024, "exit": child.returncode}


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def tell(name, runs):
    codes = sorted({run["exit"] for run in runs})
    print(f"{name:<34} wall {median(runs, 'wall'):8.3f} s   cpu {median(runs, 'cpu'):8.3f} s   "
          f"peak {median(runs, 'mib'):7.1f} MiB   exit {codes}", flush=True)


def pairs(name, ours, other_name, theirs, runs):
    """A B A B …, so that a ratio holds while the machine's speed drifts."""
    a, b = [], []
    for n in range(runs + 1):
        one, other = ours(), theirs()
        if n > 0:  # the first pair warms up
            a.append(one)
            b.append(other)
    tell(name, a)
    tell(other_name, b)
    for key, word in [("wall", "time"), ("cpu", "CPU"), ("mib", "memory")]:
        ratios = sorted(one[key] / other[key] for one, other in zip(a, b))
        print(f"    {word} ratio, pair by pair: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


class Bench:
    def __init__(self, asked):
        self.asked = asked
        self.folder = pathlib.Path(asked.folder)

    def input(self, rows, per_desktop):
        path = self.folder / f"in-{rows}-{per_desktop}.csv"
        if not path.exists():
            subprocess.run([sys.executable, HERE / "peers/gen.py", str(rows), str(per_desktop), path], check=True)
        return path

    def program(self, *words, **options):
        return measure([self.asked.program, *map(str, words)], cwd=self.folder, **options)

    def server(self, latency_ms=0, *words):
        return Server([self.asked.server, "--port", str(PORT), "--latency-ms", str(latency_ms), *map(str, words)])

    def write(self, path, *words, preflight="off", verify="off"):
        """A fresh run against the server."""
        for name in self.folder.glob("r.csv*"):
            name.unlink()
        return self.program("run", path, "--results", "r.csv", "--yes", "--preflight", preflight, "--verify", verify,
                            "--endpoint", f"http://127.0.0.1:{PORT}", "--project-id", "project-1", "--progress", "off",
                            *words)

    def plan_of(self, path):
        return self.program("plan", path, "--preflight", "off", "--requests", self.folder / "ours.jsonl")

    def plan(self):
        path = self.input(1_000_000, 4)
        ours = lambda: (self.unlink("ours.jsonl"), self.plan_of(path))[1]
        if self.asked.peers is None:
            return tell("plan, 1,000,000 rows", [ours() for _ in range(self.asked.runs)])
        polars = [self.asked.peers, HERE / "peers/plan_polars.py", path, self.folder / "polars.jsonl"]
        theirs = lambda: (self.unlink("polars.jsonl"), measure(polars))[1]
        pairs("plan, 1,000,000 rows", ours, "Polars, the same", theirs, self.asked.runs)
        # Line by line: what this process holds in memory would count as a child's peak.
        with open(self.folder / "ours.jsonl") as a, open(self.folder / "polars.jsonl") as b:
            same = all(json.loads(one) == json.loads(other) for one, other in zip(a, b, strict=True))
        print(f"    the same bodies: {same}")

    def unlink(self, name):
        (self.folder / name).unlink(missing_ok=True)

    def large_plan(self):
        for rows in [1_000_000, 10_000_000]:
            path = self.input(rows, 4)
            runs = [(self.unlink("ours.jsonl"), self.plan_of(path))[1] for _ in range(3)]
            tell(f"plan, {rows:,} rows", runs)
            print(f"    {median(runs, 'wall') / rows * 1e6:.3f} µs a row")
        self.unlink("ours.jsonl")

    def run(self):
        path = self.input(100_000, 4)
        fast = ["--write-rate", "10000/s", "--concurrency", "64"]
        with self.server() as server:
            ours = lambda: self.write(path, *fast)
            if self.asked.peers is None:
                return tell("run, 100,000 rows", [ours() for _ in range(self.asked.runs)])
            sdk = [self.asked.peers, HERE / "peers/run_sdk.py", path, self.folder / "sdk.csv",
                   f"http://127.0.0.1:{PORT}", "16"]
            pairs("run, 100,000 rows", ours, "the official SDK, the same", lambda: measure(sdk), self.asked.runs)
            server.get("reset")
            ours()
            print(f"    the last run's writes: {server.get('stats')}")
            path = self.input(1_000_000, 4)
            server.get("reset")
            tell("run, 1,000,000 rows", [self.write(path, *fast)])
            print(f"    its writes: {server.get('stats')}")

    def ceiling(self):
        path = self.input(50_000, 1)
        pace = ["--write-rate", "50/s", "--concurrency", "32"]
        with self.server(200, "--estate", path) as server:
            # As by default: the reads before the first write were answered, so that nothing is left to be proved.
            words = [*pace, "--read-rate", "100/s"]
            tell("run, 500 chunks at 50/s, preflight", [self.write(path, *words, preflight="on")])
            stats = json.loads(server.get("stats"))
            used = (stats["writes"] - 1) / stats["span_s"] / 50
            print(f"    {stats}: {used:.2%} of the ceiling")
        with self.server(200) as server:
            tell("run, 500 chunks at 50/s, no preflight", [self.write(path, *pace)])
            stats = json.loads(server.get("stats"))
            used = (stats["writes"] - 1) / stats["span_s"] / 50
            print(f"    {stats}: {used:.2%} of the ceiling")
            # Until the first answer one request is out at a time, so that a wrong key is not locked.
            used = (stats["writes"] - 2) / (stats["span_s"] - stats["first_gap_s"]) / 50
            print(f"    {used:.2%} from the first answer on")

    def floor(self):
        """With all that is on by default: the least that it could take is the writes at their ceiling, the time that they
        are given to settle, and one read."""
        latency, settle = 0.2, 5
        for desktops in [6_000, 60_000]:
            path = self.input(desktops, 1)
            with self.server(200, "--world", path):
                words = ["--write-rate", "10/s", "--read-rate", "20/s"]
                run = self.write(path, *words, preflight="on", verify="on")
            tell(f"run, {desktops // 100} chunks at 10/s, all on", [run])
            floor = desktops / 100 / 10 + settle + latency
            print(f"    {run['wall'] / floor:.3f} times the floor of {floor:.1f} s")

    def small(self):
        path = self.input(100, 4)
        with self.server():
            tell("run, 100 rows", [self.write(path) for _ in range(self.asked.runs)])

    def idle(self):
        """As many chunks as the published ceiling lets through in an hour, in less time."""
        for rows in [100_000, 600_000]:
            path = self.input(rows, 1)
            with self.server():
                runs = [self.write(path, "--write-rate", "100/s", "--concurrency", "8")]
            tell(f"run, {rows // 100:,} chunks", runs)
            print(f"    at 100/min: {runs[0]['cpu'] / (rows / 100 / 100 * 60):.2%} of a core")

    def journals(self):
        path = self.input(1_000_000, 4)
        with self.server() as server:
            fast = ["--write-rate", "500/s", "--concurrency", "64"]
            tell("run stopped half way", [self.write(path, *fast, "--max-runtime", "2500ms")])
            print(f"    its writes: {server.get('stats')}")
            tell("status", [self.program("status", "r.csv.journal") for _ in range(self.asked.runs)])
            server.get("reset")
            began = time.time()
            ended = self.write_on(path, fast, server)
            print(f"    resumed: first request {ended[1] - began:.3f} s after the start")
            tell("resumed to the end", [ended[0]])
            tell("status, finished", [self.program("status", "r.csv.journal") for _ in range(self.asked.runs)])
            runs = []
            for _ in range(3):
                self.unlink("r.csv")
                # Finished: the results are rebuilt from the journal, and nothing is sent.
                runs.append(self.program("run", "r.csv.journal", "--yes"))
            tell("results of 1,000,000 rows", runs)

    def write_on(self, path, words, server):
        command = [self.asked.program, "run", path, "--results", "r.csv", "--yes", "--preflight", "off", "--verify", "off",
                   "--endpoint", f"http://127.0.0.1:{PORT}", "--project-id", "project-1", "--progress", "off", *words]
        usage = measure([str(word) for word in command], cwd=self.folder)
        return usage, json.loads(server.get("stats"))["first_at"]


class Server:
    def __init__(self, command):
        self.child = subprocess.Popen(command)
        for _ in range(100):
            try:
                self.get("reset")
                return
            except urllib.error.HTTPError:
                return  # it is there, and knows no such path
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server does not answer")

    def get(self, word):
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{word}") as answer:
            return answer.read().decode().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("server", type=os.path.abspath)
    parser.add_argument("folder", type=os.path.abspath)
    parser.add_argument("--peers")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("targets", nargs="*")
    bench = Bench(parser.parse_intermixed_args())
    bench.folder.mkdir(parents=True, exist_ok=True)
    for target in bench.asked.targets or ["plan", "large-plan", "run", "ceiling", "floor", "small", "idle", "journals"]:
        getattr(bench, target.replace("-", "_"))()


if __name__ == "__main__":
    main()
