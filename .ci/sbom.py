"""Turns `cargo metadata` (standard input) into a CycloneDX list of what the program is made of (standard output)."""

import json
import sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
resolved = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def needed(node):
    """What a crate needs to run or to be built; what its tests need is not in the program."""
    return [dep["pkg"] for dep in node["deps"] if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"])]


inside, left = set(), [root]
while left:
    one = left.pop()
    if one not in inside:
        inside.add(one)
        left.extend(needed(resolved[one]))


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind="library"):
    entry = {
        "type": kind,
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("license"):
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return entry


order = sorted(inside - {root}, key=lambda one: (packages[one]["name"], packages[one]["version"]))
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root], "application")},
        "components": [component(packages[one]) for one in order],
        "dependencies": [
            {
                "ref": reference(packages[one]),
                "dependsOn": sorted({reference(packages[dep]) for dep in needed(resolved[one])}),
            }
            for one in [root, *order]
        ],
    },
    sys.stdout,
    indent=1,
)
print()
