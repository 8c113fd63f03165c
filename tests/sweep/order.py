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
    """`(name, arguments, result, position of its entry, position of its return)` in order of their entries."""
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
            entry = [name, rest, None, position, None]
            found.append(entry)
            if rest.endswith("<unfinished ...>"):
                open_calls[thread] = entry
                continue
        entry[2] = rest.rpartition("= ")[2]
        entry[4] = position
    return found


def sent_bodies(found):
    """Position of the first byte of each write request, and the hash of its body."""
    for name, arguments, _, entered, _ in found:
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
    for name, arguments, result, entered, returned in found:
        paths = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)
        if not name.startswith("rename") or result != "0" or len(paths) != 2 or paths[1] != str(target):
            continue
        renames += 1
        file = any(f"<{paths[0]}>" in call[1] and call[4] < entered for call in synced)
        directory = any(f"<{os.path.dirname(paths[1])}>" in call[1] and call[3] > returned for call in synced)
        if not (file and directory):
            bad.append(f"{paths[0]}: synced {file}, its directory {directory}")
    return bad, renames


def first_injected(found):
    """Where the first call failed on order, if one did."""
    return min((call[4] for call in found if call[2] and "(INJECTED)" in call[2]), default=None)


def sent_against(found, journal, position):
    """Write requests that left after a call at `position` had failed, though they should not have.

    As many may as the runtime has threads: the intent of each was durable, its turn had come, and it was on its way to the
    socket at that very moment.
    """
    after = [(entered, sha256) for entered, sha256 in sent_bodies(found) if entered > position]
    return [sha256 for n, (_, sha256) in enumerate(after) if n >= THREADS or not durable_before(found, journal, sha256, position)]
