#!/usr/bin/env python3
"""A week of nightly runs by the line of samples/cron/crontab, against the simulator: exit codes, metrics, files.

    python3 -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/cron_week.py [--program target/debug/batch-detach]

The list grows every night; one night the process is killed, one night another holds the lock. The metrics are read by
the parser of the Prometheus client. The last line is `N passed, N failed`; ends with 0 if none failed.
"""

import argparse
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from simulator import ROOT, Simulator, build_program

SEATS = [(f"0c1e{n:04x}-5eed-4000-8000-{n:012x}", f"NIGHT-{n:03}", f"leaver-{n:03}") for n in range(400)]
DAY = 24 * 3600
# Waits of a test, not of a service.
QUICK = {"BATCH_DETACH_SETTLE_TIME": "50ms", "BATCH_DETACH_POLL_INTERVAL": "100ms", "BATCH_DETACH_RETRY_BASE": "50ms",
         "BATCH_DETACH_READ_RATE": "50/s"}
# So slow that there is time to look in.
SLOW = {"BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST": "1", "BATCH_DETACH_WRITE_RATE": "4/s"}
# Keeps the exit code and the process id of the one program that the line starts.
SHIM = """#!/bin/sh
{program} "$@" &
echo $! > {folder}/pid
wait $!
echo $? > {folder}/code
"""


class Night:
    """What one night left behind."""

    def __init__(self, code, errors, metrics):
        self.code, self.errors, self.metrics = code, errors, metrics


class House:
    """The machine that runs the job: the sample's folders, moved into a temporary one."""

    def __init__(self, program, folder, simulator):
        self.program, self.folder, self.simulator = program, folder, simulator
        self.work, self.textfile = folder / "srv", folder / "textfile"
        for path in (self.work, self.textfile, folder / "bin"):
            path.mkdir()
        (folder / "bin/batch-detach").write_text(SHIM.format(program=shlex.quote(str(program)), folder=folder))
        (folder / "bin/batch-detach").chmod(0o755)
        lines = (ROOT / "samples/cron/crontab").read_text().splitlines()
        commands = [line.split(None, 5)[5] for line in lines if re.match(r"[0-9]", line)]
        self.nightly, self.weekly = [
            command.replace("/srv/batch-detach", str(self.work))
            .replace("/etc/batch-detach/credentials", str(folder / "credentials"))
            .replace("/var/lib/node_exporter/textfile", str(self.textfile)) for command in commands]
        self.prom = self.textfile / "batch_detach.prom"
        self.journal = self.work / "leavers.results.csv.journal"

    def list(self, seats, header=("desktop_id", "desktop_name", "user_name")):
        """Writes the list; the last day of everybody on it was in the past."""
        with open(self.work / "leavers.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([(*header, "last_day"), *((*seat, "2025-11-28") for seat in seats)])

    def credentials(self, more):
        sample = (ROOT / "samples/cron/credentials.example").read_text()
        place = {name: value for name, value in self.simulator.exports.items() if name.startswith("BATCH_DETACH_")}
        lines = [f"{name}={value}" for name, value in {**place, **QUICK, **more}.items()]
        (self.folder / "credentials").write_text(sample + "\n".join(lines) + "\n")

    def start(self, command):
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "HOME": str(self.folder)}
        return subprocess.Popen(["/bin/sh", "-c", command], env=environment, cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def night(self, during=None, **more):
        """Runs the line; `during` is called while it works."""
        self.credentials(more)
        for name in ("pid", "code"):
            (self.folder / name).unlink(missing_ok=True)
        self.older = self.status().get("run_id")
        process = self.start(self.nightly)
        if during:
            during(process)
        output, errors = process.communicate(timeout=120)
        assert output == "", f"cron would mail this: {output}"
        return Night(int((self.folder / "code").read_text()), errors, self.metrics())

    def metrics(self):
        if not self.prom.exists():
            return None
        assert self.prom.stat().st_mode & 0o777 == 0o644, "node_exporter can read it"
        families = text_string_to_metric_families(self.prom.read_text())
        samples = {}
        for family in families:
            assert family.type == "gauge" and family.documentation, family
            for sample in family.samples:
                assert sample.labels.pop("input") == "leavers.csv", sample
                samples[(sample.name, *sample.labels.values())] = sample.value
        return samples

    def status(self):
        if not self.journal.exists():
            return {}
        shown = subprocess.run([self.program, "status", self.journal, "--format", "json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, cwd=self.folder)
        return json.loads(shown.stdout) if shown.returncode == 0 else {}

    def until_some_are_detached(self):
        """Waits until tonight's run, no older one, is in the middle."""
        for _ in range(600):
            status = self.status()
            if status.get("run_id") != self.older and status.get("outcomes", {}).get("detached", 0) > 0:
                return
            time.sleep(0.05)
        raise AssertionError("the run never came so far")

    def send(self, kind):
        os.kill(int((self.folder / "pid").read_text()), kind)

    def bound(self):
        """Desktops that somebody is bound to, by the API itself."""
        bound, offset = set(), 0
        while True:
            url = f"{self.simulator.address}/v2/{self.simulator.project}/desktops/detail?limit=500&offset={offset}"
            page = json.load(urllib.request.urlopen(url))["desktops"]
            bound.update(one["desktop_id"] for one in page if one["attach_user_infos"])
            offset += len(page)
            if len(page) < 500:
                return bound

    def results(self):
        with open(self.work / "leavers.results.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


class Week:
    """Seven nights, in order; each is one check."""

    def __init__(self, house):
        self.house = house
        hibernated = set()
        url = f"{house.simulator.address}/v2/{house.simulator.project}/desktops/detail?limit=500"
        for desktop in json.load(urllib.request.urlopen(url))["desktops"]:
            if desktop["status"] == "HIBERNATED":
                hibernated.add(desktop["desktop_id"])
        bound = house.bound()
        self.good = [seat for seat in SEATS if seat[0] not in hibernated and seat[0] in bound]
        self.asleep = [seat for seat in SEATS if seat[0] in hibernated]
        self.last = None

    def expect(self, night, code, **rows):
        """The exit code, in every place that tells it; and the rows by outcome."""
        assert night.code == code, (night.code, night.errors)
        [last] = night.errors.splitlines()[-1:]
        assert last.startswith(f"exit code {code}: "), night.errors
        assert night.metrics[("batch_detach_exit_code",)] == code
        for outcome in ("detached", "already_detached", "failed", "unknown", "invalid", "not_sent"):
            counted = night.metrics[("batch_detach_rows", outcome)]
            if outcome in rows:
                assert counted == rows[outcome], (outcome, counted, rows)
        summary = json.loads((self.house.work / "last-summary.json").read_text())
        assert summary["exit_code"] == code and summary["format"] == 1
        for outcome, count in rows.items():
            assert summary["outcomes"][outcome] == count, summary["outcomes"]
        ended = night.metrics[("batch_detach_last_run_timestamp_seconds",)]
        assert abs(ended - time.time()) < 60, ended
        self.last = night.metrics

    def refused(self, night, code):
        """Nothing was sent and nothing written: the figures are those of the night before."""
        assert night.code == code, (night.code, night.errors)
        assert f"exit code {code}: " in night.errors, night.errors
        assert night.metrics == self.last

    def monday_all_is_detached(self):
        self.house.list(self.good[:20])
        self.expect(self.house.night(), 0, detached=20, already_detached=0, failed=0)
        assert ("batch_detach_last_success_timestamp_seconds",) in self.last

    def tuesday_the_list_has_grown(self):
        self.house.list(self.good[:30])
        self.expect(self.house.night(), 0, detached=10, already_detached=20)
        kept = list(self.house.work.glob("leavers.results.*.csv"))
        assert len(kept) == 1 and Path(f"{kept[0]}.journal").exists(), "Monday's files were moved aside"

    def wednesday_one_desktop_hibernates_and_one_is_no_more(self):
        before = self.last[("batch_detach_last_success_timestamp_seconds",)]
        gone = ("0c1effff-5eed-4000-8000-00000000dead", "GONE-1", "leaver-x")
        self.house.list([*self.good[:40], self.asleep[0], gone])
        night = self.house.night()
        self.expect(night, 1, detached=10, already_detached=30, failed=1, invalid=1)
        assert night.metrics[("batch_detach_last_success_timestamp_seconds",)] == before, "kept from Tuesday"

    def thursday_the_process_is_killed(self):
        self.house.list(self.good[:60])

        def kill(_):
            self.house.until_some_are_detached()
            self.house.send(signal.SIGKILL)

        night = self.house.night(during=kill, **SLOW)
        assert night.code == 128 + signal.SIGKILL, night.code
        assert night.metrics == self.last, "a run that is killed leaves no figures"
        left = self.house.bound() & {seat[0] for seat in self.good[40:60]}
        assert 0 < len(left) < 20, f"killed in the middle: {len(left)} are left"

    def friday_the_list_has_grown_over_the_crash(self):
        self.house.list(self.good[:70])
        night = self.house.night()
        self.expect(night, 0, unknown=0, failed=0)
        rows = self.last
        total = rows[("batch_detach_rows", "detached")] + rows[("batch_detach_rows", "already_detached")]
        assert total == 70 and rows[("batch_detach_rows", "detached")] >= 10, rows
        assert not self.house.bound() & {seat[0] for seat in self.good[:70]}

    def saturday_another_run_holds_the_lock(self):
        self.house.list(self.good[:80])
        inner = []

        def second(_):
            self.house.until_some_are_detached()
            code, pid = self.house.folder / "code", (self.house.folder / "pid").read_text()
            other = self.house.start(self.house.nightly)
            _, errors = other.communicate(timeout=60)
            inner.append(Night(int(code.read_text()), errors, self.house.metrics()))
            code.unlink()
            (self.house.folder / "pid").write_text(pid)

        night = self.house.night(during=second, **SLOW)
        self.refused(inner[0], 6)
        self.last = None
        self.expect(night, 0, detached=10, already_detached=70)

    def sunday_it_is_stopped_and_started_again(self):
        self.house.list(self.good[:100])

        def stop(_):
            self.house.until_some_are_detached()
            self.house.send(signal.SIGTERM)

        night = self.house.night(during=stop, **SLOW)
        self.expect(night, 5)
        assert night.metrics[("batch_detach_rows", "not_sent")] > 0
        assert any(row["outcome"] == "not_sent" for row in self.house.results())
        self.expect(self.house.night(), 0, unknown=0)
        assert {row["outcome"] for row in self.house.results()} == {"detached", "already_detached"}

    def sunday_a_list_that_is_far_too_long_is_refused(self):
        self.house.list(self.good[:250])
        bound = self.house.bound()
        self.refused(self.house.night(), 3)
        assert self.house.bound() == bound

    def sunday_a_list_of_another_shape_is_refused(self):
        self.house.list(self.good[:10], header=("id", "name", "who"))
        self.refused(self.house.night(), 2)

    def sunday_the_folder_of_the_metrics_is_missing(self):
        self.house.list(self.good[:105])
        bound, elsewhere = self.house.bound(), self.house.folder / "elsewhere"
        self.house.textfile.rename(elsewhere)
        night = self.house.night()
        elsewhere.rename(self.house.textfile)
        assert night.code == 2 and "write the metrics" in night.errors, (night.code, night.errors)
        assert self.house.bound() == bound, "found out before anything is sent"

    def sunday_old_files_are_removed_and_the_latest_are_kept(self):
        old = sorted(self.house.work.glob("leavers.results.*.csv*"))
        assert len(old) >= 10, old
        latest = {self.house.work / "leavers.results.csv", self.house.journal}
        for path in [*old, *latest]:
            os.utime(path, (time.time() - 100 * DAY,) * 2)
        weekly = self.house.start(self.house.weekly)
        output, errors = weekly.communicate(timeout=30)
        assert (weekly.returncode, output, errors) == (0, "", "")
        assert not [path for path in old if path.exists()] and all(path.exists() for path in latest)
        assert (self.house.work / "run.log.1").exists()

    def monday_again_the_service_is_away(self):
        self.house.list(self.good[:110])
        assert self.house.simulator.stop() == 0
        self.refused(self.house.night(), 4)

    nights = [
        monday_all_is_detached, tuesday_the_list_has_grown, wednesday_one_desktop_hibernates_and_one_is_no_more,
        thursday_the_process_is_killed, friday_the_list_has_grown_over_the_crash, saturday_another_run_holds_the_lock,
        sunday_it_is_stopped_and_started_again, sunday_a_list_that_is_far_too_long_is_refused,
        sunday_a_list_of_another_shape_is_refused, sunday_the_folder_of_the_metrics_is_missing,
        sunday_old_files_are_removed_and_the_latest_are_kept, monday_again_the_service_is_away]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", help="the program; built if not given")
    options = parser.parse_args()
    program = Path(options.program).resolve() if options.program else build_program()
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(program, Path(folder), SEATS, seed=5)
        try:
            week = Week(House(program, Path(folder), simulator))
            for night in Week.nights:
                night(week)  # each builds on the one before: the first that fails ends the week
                passed += 1
                print(f"ok: {night.__name__.replace('_', ' ')}", flush=True)
        finally:
            if simulator.process.poll() is None:
                simulator.stop()
            print(f"{passed} passed, {len(Week.nights) - passed} failed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
