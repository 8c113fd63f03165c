"""Reads a system-call trace: which call came before which (P4, P14)."""

import codecs
import hashlib
import os
import re

# On which requests are sent.
THREADS = 2
CALL = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$", re.S)
TEXT = re.compile(r'iov_base="((?:[^"\\]|\\.)*)"')


def calls(trace):
    """`(name, arguments, result, position of its entry, position of its return, thread)` in order of their entries."""
    open_calls, found = {}, []
    for position, line in enumerate(trace.splitlines()):
        match = CALL.match(line)
        if not match:
            continue
        thread, resumed, name, rest = match.groups()
        if resumed:
            entry = open_calls.pop(thread, None)
            if entry is None:
                continue
            entry[1] += rest
        else:
            entry = [name, rest, None, position, None, thread]
            found.append(entry)
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = entry
                continue
        entry[2] = rest.rpartition("= ")[2]
        entry[4] = position
    return found


def sent_bodies(found):
    """Position of the first byte of each write request, and the hash of its body."""
    for name, arguments, _, entered, _, _ in found:
        if name in ("writev", "sendmsg", "sendto", "write") and "POST /v2/" in arguments:
            parts = [codecs.escape_decode(text.encode())[0] for text in TEXT.findall(arguments)]
            body = b"".join(parts).partition(b"\r\n\r\n")[2]
            yield entered, hashlib.sha256(body).hexdigest()


def durable_before(found, journal, sha256, position):
    """Whether an intent with that hash was written to the log and then synced, all of it before `position`."""
    log = f"{journal}-wal"
    kept = [
        call for call in found if call[0] == "pwrite64" and log in call[1] and sha256 in call[1] and call[4] is not None
    ]
    syncs = [call for call in found if call[0] in ("fsync", "fdatasync") and log in call[1] and call[2] == "0"]
    return any(intent[4] < sync[3] and sync[4] < position for intent in kept for sync in syncs)


def unproved(trace, journal):
    """Writes whose intent was not synced before their first byte, and how many writes there are."""
    found = calls(trace)
    sent = list(sent_bodies(found))
    return [sha256 for position, sha256 in sent if not durable_before(found, journal, sha256, position)], len(sent)


def careless_renames(trace, target):
    """Renames to `target` of a file that was not synced before, or whose directory was not after; and how many renames (P14)."""
    found = calls(trace)
    synced = [call for call in found if call[0] in ("fsync", "fdatasync") and call[2] == "0"]
    bad, renames = [], 0
    for name, arguments, result, entered, returned, _ in found:
        paths = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)
        if not name.startswith("rename") or result != "0" or len(paths) != 2 or paths[1] != str(target):
            continue
        renames += 1
        file = any(f"<{paths[0]}>" in call[1] and call[4] < entered for call in synced)
        directory = any(f"<{os.path.dirname(paths[1])}>" in call[1] and call[3] > returned for call in synced)
        if not (file and directory):
            bad.append(f"{paths[0]}: synced {file}, its directory {directory}")
    return bad, renames


def first_injected(found, path=""):
    """The first call (on files of this path) that failed on order, if one did."""
    failed = (call for call in found if call[2] and "(INJECTED)" in call[2] and str(path) in call[1])
    return min(failed, key=lambda call: call[4], default=None)


def sent_against(found, journal):
    """Write requests that left after a call on the journal had failed, though they should not have.

    The intent of each must have been durable before. Until the thread that the call failed for goes on, nobody can know of
    it; then as many may still leave as the runtime has threads: their turn had come, and they were on their way to the
    socket at that very moment.
    """
    failed = first_injected(found, journal)
    known = min((call[3] for call in found if call[5] == failed[5] and call[3] > failed[4]), default=failed[4])
    after = [(entered, sha256) for entered, sha256 in sent_bodies(found) if entered > failed[4]]
    late = [sha256 for entered, sha256 in after if entered > known][THREADS:]
    return late + [sha256 for _, sha256 in after if not durable_before(found, journal, sha256, failed[4])]
