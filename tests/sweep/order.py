"""Reads a system-call trace: which call came before which (P4)."""

import codecs
import hashlib
import re

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


def unproved(trace, journal):
    """Writes whose intent was not synced before their first byte, and how many writes there are."""
    found = calls(trace)
    bad, count = [], 0
    for sent, sha256 in sent_bodies(found):
        count += 1
        kept = [
            call
            for call in found
            if call[0] == "pwrite64" and f"{journal}-wal" in call[1] and sha256 in call[1] and call[4] is not None
        ]
        good = [
            sync
            for intent in kept
            for sync in found
            if sync[0] in ("fsync", "fdatasync")
            and f"{journal}-wal" in sync[1]
            and sync[2] == "0"
            and intent[4] < sync[3]
            and sync[4] < sent
        ]
        if not good:
            bad.append((sha256, len(kept)))
    return bad, count


def first_injected(found):
    """Where the first call failed on order, if one did."""
    return min((call[4] for call in found if call[2] and "(INJECTED)" in call[2]), default=None)


def sent_after(found, position):
    """Write requests whose first byte left after that."""
    return [entered for entered, _ in sent_bodies(found) if entered > position]
