#!/usr/bin/env python3
"""Fails if something that is built has a licence that is not allowed, or comes from elsewhere than crates.io.

Reads what `cargo metadata --locked --format-version 1` prints, for every platform. The comparison with other crates
(`peers`) is left out: nobody is given any of it.
"""

import json
import re
import sys

ALLOWED = {
    "Apache-2.0",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}
# The source of a package from crates.io, as `cargo metadata` has it.
FROM_CRATES_IO = re.compile(r"registry[+]\S*/crates[.]io-\w+")


def may_be_used(expression):
    """Says whether an SPDX expression has a choice that is allowed: `(MIT OR Apache-2.0) AND Unicode-3.0`."""
    words = re.findall(r"[()]|[^()\s]+", expression.replace("/", " OR "))
    words.append("")

    def any_of():
        allowed = all_of()
        while words[0] == "OR":
            words.pop(0)
            allowed = all_of() or allowed
        return allowed

    def all_of():
        allowed = one()
        while words[0] == "AND":
            words.pop(0)
            allowed = one() and allowed
        return allowed

    def one():
        word = words.pop(0)
        if word == "(":
            allowed = any_of()
            if words.pop(0) != ")":
                raise ValueError(expression)
            return allowed
        if words[0] == "WITH":
            word = " ".join([word, words.pop(0), words.pop(0)])
        return word in ALLOWED

    allowed = any_of()
    if words != [""]:
        raise ValueError(expression)
    return allowed


def mistakes(package):
    """Yields what is wrong with a package."""
    if package["source"] is not None and not FROM_CRATES_IO.fullmatch(package["source"]):
        yield f"comes from {package['source']}"
    if not package["license"]:
        yield "does not say its licence"
    elif not may_be_used(package["license"]):
        yield f"is licensed as {package['license']}"
    if package["source"] is None:
        for dependency in package["dependencies"]:
            if dependency["req"] == "*" and "path" not in dependency:
                yield f"takes any version of {dependency['name']}"


def built(metadata):
    """Returns the packages of the workspace, but for the comparison, and all that these need."""
    needs = {node["id"]: node["dependencies"] for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    waiting = [id for id in metadata["workspace_members"] if packages[id]["name"] != "peers"]
    seen = set(waiting)
    while waiting:
        new = set(needs[waiting.pop()]) - seen
        seen |= new
        waiting += new
    return [packages[id] for id in sorted(seen)]


def main():
    assert may_be_used("(MIT OR GPL-3.0-only) AND Unicode-3.0") and may_be_used("MIT/GPL-2.0")
    assert not may_be_used("MIT AND GPL-3.0-only") and not may_be_used("Apache-2.0 WITH LLVM-exception")
    packages = built(json.load(sys.stdin))
    found = [f"{p['name']} {p['version']} {mistake}" for p in packages for mistake in mistakes(p)]
    print("\n".join(found) or f"{len(packages)} packages may be used")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
