#!/usr/bin/env python3
"""Compares our signatures with those of the official Python SDK, over random requests.

    python3 -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/sign_against_sdk.py [--count 5000] [--seed 1]

Ends with 0 if every signature is the same, else with 1 and the first requests that differ.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

ROOT = Path(__file__).resolve().parents[2]

# Every printable ASCII character, and letters of one to four bytes.
PIECES = [chr(code) for code in range(0x20, 0x7F)] + list("äßéΩж张三研发桌面ｆ𠮷😀")
SEGMENTS = ["v2", "v3", "v3.0", "OS-CREDENTIAL", "securitytokens", "desktops", "users", "workspace-jobs", "batch-detach", "0bec5db98280d2d02fd6c00c2de791ce"]
NAMES = ["user_name", "user_names", "desktop_id", "computer_name", "limit", "offset", "tag", "x[y]", "Zeta", "名"]
HEADERS = ["X-Project-Id", "X-Domain-Id", "X-Security-Token", "User-Agent", "Accept", "X-Custom", "X-Comment", "x_unsigned"]


def text(rng, most):
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))


def on_the_wire(rng, value):
    """Percent-encoded, sometimes with digits in lower case, as other programs write them."""
    encoded = quote(value, safe="-_.~")
    return encoded.lower() if rng.random() < 0.2 and encoded.isascii() and value == value.lower() else encoded


def role(rng):
    """What takes on an agency."""
    role = {"agency_name": text(rng, 12), rng.choice(["domain_name", "domain_id"]): text(rng, 12)}
    return json.dumps({"auth": {"identity": {"methods": ["assume_role"], "assume_role": role}}})


def random_request(rng):
    segments = [rng.choice(SEGMENTS) if rng.random() < 0.6 else text(rng, 8) for _ in range(rng.randint(0, 5))]
    query = [(rng.choice(NAMES), text(rng, 10)) for _ in range(rng.randint(0, 6))]
    line = {
        "access": "AK" + "".join(rng.choice("ABCDEFGHJKLMNP0123456789") for _ in range(18)),
        "secret": "".join(rng.choice("abcdefXYZ0123456789+/=") for _ in range(rng.randint(1, 80))),
        "method": rng.choice(["GET", "POST", "PUT", "DELETE"]),
        "date": "%04d%02d%02dT%02d%02d%02dZ" % (
            rng.randint(2020, 2040), rng.randint(1, 12), rng.randint(1, 28),
            rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)),
        "path": "/" + "/".join(on_the_wire(rng, segment) for segment in segments) + ("/" if rng.random() < 0.2 else ""),
        "query": "&".join(f"{quote(name, safe='-_.~')}={on_the_wire(rng, value)}" for name, value in query),
        "host": rng.choice(["workspace.cn-north-4.myhuaweicloud.com", "iam.myhuaweicloud.com", "ws.example.com:8443"]),
        "body": rng.choice(["", json.dumps({"user_name": text(rng, 30)}), role(rng), text(rng, 200)]),
    }
    if rng.random() < 0.5:  # the headers that our program signs
        line["project_id"] = rng.choice([None, f"{rng.getrandbits(128):032x}"])
        line["security_token"] = rng.choice([None, "gQpjbi1ub3J0aC00+/==" * rng.randint(1, 20)])
        headers = {"X-Project-Id": line["project_id"], "X-Security-Token": line["security_token"]}
        headers = {name: value for name, value in headers.items() if value is not None}
    else:  # any headers
        headers = {name: text(rng, 20) for name in rng.sample(HEADERS, rng.randint(0, len(HEADERS)))}
        if rng.random() < 0.5:
            headers["Content-Type"] = rng.choice(["application/json", "application/json;charset=utf8"])
        line["headers"] = [[name, value] for name, value in headers.items()]
        line["headers"] += [["Host", line["host"]], ["X-Sdk-Date", line["date"]]]
    return line, query, headers


def of_the_sdk(line, query, headers):
    request = SdkRequest(
        method=line["method"],
        schema="https",
        host=line["host"],
        resource_path=line["path"],
        query_params=list(query),
        header_params={**headers, "X-Sdk-Date": line["date"]},
        body=line["body"],
    )
    credentials = SimpleNamespace(ak=line["access"], sk=line["secret"])
    return Signer(credentials).sign(request).header_params["Authorization"]


def build_signer():
    command = ["cargo", "test", "--test", "signer", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for message in map(json.loads, built.splitlines()):
        if message.get("executable") and message["target"]["name"] == "signer":
            return message["executable"]
    sys.exit("cargo built no signer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signer", help="the signer's test binary; built if not given")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    requests = [random_request(rng) for _ in range(options.count)]
    lines = "".join(json.dumps(line) + "\n" for line, _, _ in requests)
    ours = subprocess.run(
        [options.signer or build_signer()], env={**os.environ, "BATCH_DETACH_SIGN_LINES": "1"},
        input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    if len(ours) != len(requests):
        sys.exit(f"{len(requests)} requests, and {len(ours)} answers")
    wrong = 0
    for (line, query, headers), mine in zip(requests, ours):
        theirs = of_the_sdk(line, query, headers)
        if mine != theirs:
            wrong += 1
            if wrong <= 3:
                print(f"differs: {json.dumps(line, ensure_ascii=False)}\n  ours: {mine}\n  SDK:  {theirs}")
    print(f"{len(requests) - wrong} of {len(requests)} signatures are the SDK's")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
