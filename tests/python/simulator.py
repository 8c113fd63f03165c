"""`batch-detach simulate` as a process, for the tests of this folder."""

import csv
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_program():
    subprocess.run(["cargo", "build", "--quiet"], cwd=ROOT, check=True)
    return ROOT / "target/debug/batch-detach"


class Simulator:
    """Serves a world that holds `seats`: desktop id, desktop name, user name."""

    def __init__(self, program, folder, seats, seed):
        self.seats = seats
        world = folder / "world.csv"
        with open(world, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("desktop_id", "desktop_name", "user_name"), *seats])
        self.process = subprocess.Popen(
            [program, "simulate", world, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=folder)
        self.exports = {}
        while len(self.exports) < 4:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the simulator ended before it served")
            name, value = re.fullmatch(r"export (\w+)=(\S+)\n", line).groups()
            self.exports[name] = value
        self.address = self.exports["BATCH_DETACH_ENDPOINT"]
        self.project = self.exports["BATCH_DETACH_PROJECT_ID"]

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=10)
