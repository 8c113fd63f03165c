"""Disks that are full, read-only or tampered with, without a tracer."""

import collections
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from case import PROGRAM, Case, need


class Skipped(Exception):
    """This machine can't play it."""


def results_removed(case):
    """Results that are gone are rebuilt, and nothing is sent."""
    case.resume()
    case.results.unlink()
    asked = len(case.service.log)
    case.resume()
    need(len(case.service.log) == asked, "a request was sent to rebuild the results")
    case.check()


def older_results_stay_over_a_kill(case):
    """Stopped, and the next process killed as it renames its results: those of the stop are not taken for the end."""
    process = case.start()
    while not case.writes() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    case.said += process.communicate(timeout=60)
    need(process.returncode == 5, f"stopped, and exit {process.returncode}")
    case.look()
    case.resume(["-o", "/dev/null", "-e", "trace=renameat", "-e", "inject=renameat:signal=SIGKILL:when=1"], code=-9)
    case.resume()
    case.check()


def input_removed(case):
    """The journal alone is enough."""
    stop_in_the_middle(case)
    case.input.rename(case.directory / "moved")
    ended = case.run(source=case.journal)
    need(ended.code == 1, f"exit {ended.code}: {ended.err}")
    (case.directory / "moved").rename(case.input)
    case.check()


def stop_in_the_middle(case):
    process = case.start()
    while not case.writes() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    case.look()


def untouched(case, exit_code, what):
    before = case.journal.read_bytes()
    asked = len(case.writes())
    ended = case.run()
    need(ended.code == exit_code, f"{what}: exit {ended.code} instead of {exit_code}: {ended.err}")
    need(case.journal.read_bytes() == before, f"{what}: it was changed")
    need(len(case.writes()) == asked, f"{what}: something was sent")
    need(str(case.journal) in ended.err, f"{what}: the message does not name it: {ended.err}")


def garbage_for_a_journal(case):
    for text in (b"", b"not a journal", os.urandom(10_000), b"SQLite format 3\0" + os.urandom(8_192)):
        case.journal.write_bytes(text)
        untouched(case, 2, f"{len(text)} bytes of garbage")
    case.journal.unlink()
    case.resume()
    case.check()


def newer_format(case):
    stop_in_the_middle(case)
    for end in ("-wal", "-shm"):
        pathlib.Path(f"{case.journal}{end}").unlink(missing_ok=True)
    good = case.journal.read_bytes()
    # SQLite's user version, at byte 60.
    case.journal.write_bytes(good[:60] + (99).to_bytes(4, "big") + good[64:])
    untouched(case, 2, "a journal of a newer format")


def truncated_journal(case):
    case.resume()
    good = case.journal.read_bytes()
    for length in (1, 99, 4_096, len(good) // 2, len(good) - 4_096):
        case.journal.write_bytes(good[:length])
        untouched(case, 2, f"a journal cut to {length} of {len(good)} bytes")
    case.journal.write_bytes(good)
    case.resume()
    case.check()


def journal_removed_under_it(case):
    """Nothing is sent once the file is gone."""
    process = case.start()
    while not case.writes() and process.poll() is None:
        time.sleep(0.002)
    case.journal.unlink()
    time.sleep(0.03)  # a write whose intent was made durable before may still be on its way
    sent = len(case.writes())
    out, err = process.communicate(timeout=60)
    case.said += [out, err]
    need(process.returncode == 5, f"exit {process.returncode} instead of 5: {err[-2000:]}")
    need(len(case.writes()) <= sent + 1, f"p13: {len(case.writes()) - sent} writes after the journal was gone")


def read_only_directory(case):
    if os.geteuid() != 0:
        case.directory.chmod(0o500)
        ended = case.run()
        case.directory.chmod(0o700)
    else:
        case.directory.chmod(0o555)
        case.input.chmod(0o444)
        reachable = shutil.copy(PROGRAM, tempfile.mkdtemp(prefix="sweep-program-"))
        os.chmod(os.path.dirname(reachable), 0o755)
        ended = case.run(program=reachable, user=65534, group=65534, extra_groups=[])
        shutil.rmtree(os.path.dirname(reachable))
    need(ended.code == 2 and not case.writes(), f"exit {ended.code} instead of 2: {ended.err}")


def results_are_a_directory(case):
    case.results.mkdir()
    ended = case.run()
    need(ended.code == 2 and not case.writes(), f"exit {ended.code} instead of 2: {ended.err}")
    case.results.rmdir()
    case.resume()
    case.check()


def full_disk(case):
    """A small file system fills up at ever later moments."""
    mounted = case.directory
    if os.geteuid() != 0:
        raise Skipped("needs root to mount")
    kept = case.input.read_bytes()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "sweep", str(mounted)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"can't mount a tmpfs: {done.stderr.strip()}")
    try:
        case.input.write_bytes(kept)
        ballast = mounted / "ballast"
        free = os.statvfs(mounted)
        room = free.f_bavail * free.f_bsize
        for left in range(0, 500_000, 36_864):
            if case.journal.exists():
                case.look()
            ballast.write_bytes(bytes(max(0, room - left)))
            ended = case.run()
            ballast.unlink()
            need(ended.code in ((5, 1) if case.writes() else (2, 5, 1)), f"{left} bytes left: exit {ended.code}: {ended.err}")
            if ended.code == 1:
                break
            case.look()
        case.resume()
        case.check()
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=False)


SCENARIOS = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        results_removed, older_results_stay_over_a_kill, input_removed, garbage_for_a_journal, newer_format,
        truncated_journal, journal_removed_under_it, read_only_directory, results_are_a_directory, full_disk,
    )
}  # fmt: skip


def play(name):
    figures = collections.Counter()
    with Case() as case:
        try:
            SCENARIOS[name](case)
            case.check_secrets()
            figures["disk scenarios"] += 1
        except Skipped as why:
            print(f"skipped: {name}: {why}")
            figures["disk scenarios skipped"] += 1
    return figures
