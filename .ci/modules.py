#!/usr/bin/env python3
"""Checks that modules import only what stands before them in ARCHITECTURE.md, and that no files import each other in a circle.

Looks at every `use crate::`, `use super::` and inline `crate::` path under src, but for tests and for the re-exports of
`mod.rs` and `lib.rs`, which make the public pages.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
# Public pages, and what only fuzz targets see.
EXEMPT = {"lib", "fuzzing"}


def module_list():
    """The modules of the table in ARCHITECTURE.md, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("## Modules", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"(?m)^\| `([\w/]+)` \|", section)


def files():
    """Each file by the path of its module."""
    found = {}
    for path in SRC.rglob("*.rs"):
        parts = path.relative_to(SRC).with_suffix("").parts
        if "tests" in parts:
            continue
        found["::".join(parts[:-1] if parts[-1] == "mod" else parts)] = path
    return found


def expand(tree):
    """`a::{b, c::d}` as `a::b`, `a::c::d`."""
    tree = tree.strip()
    match = re.match(r"^(.*?)\{(.*)\}$", tree, re.S)
    if not match:
        return [re.sub(r"\s+as\s+\w+", "", tree)]
    parts, depth, part = [], 0, ""
    for char in match.group(2):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    parts.append(part)
    return [match.group(1) + each for part in parts if part.strip() for each in expand(part)]


def code(path):
    """The text of a file without comments and without its tests."""
    text = re.sub(r"(?m)^\s*//.*$", "", path.read_text())
    return re.split(r"#\[cfg\(test\)\]\s*(?:#\[.*\]\s*)*(?:pub(?:\(crate\))? )?mod \w+ \{", text)[0]


class House:
    def __init__(self):
        self.files = files()
        self.code = {module: code(path) for module, path in self.files.items()}
        self.exports = {module: self.reexports(text) for module, text in self.code.items()}

    @staticmethod
    def reexports(text):
        trees = re.findall(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);", text)
        return {path.split("::")[-1]: path for tree in trees for path in expand(tree)}

    def is_page(self, module):
        return module in EXEMPT or self.files[module].name == "mod.rs"

    def imports(self, module):
        """The modules, by file, of which this one uses something."""
        text = self.code[module]
        uses = re.findall(r"(?m)^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", text)
        paths = [path for public, tree in uses for path in expand(tree) if not (public and self.is_page(module))]
        inline = re.sub(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+[^;]+;", "", text)
        paths += re.findall(r"\b(?:crate|super)(?:::\w+)+", inline)
        found = {self.resolve(module, path.strip()) for path in paths}
        return {target for target in found if target and target != module and target not in EXEMPT}

    def resolve(self, module, path, hops=0):
        parts = path.split("::")
        here = [] if module == "lib" else module.split("::")
        if parts[0] == "crate":
            here, parts = [], parts[1:]
        elif parts[0] in ("self", "super"):
            while parts and parts[0] in ("self", "super"):
                here = here[:-1] if parts[0] == "super" else here
                parts = parts[1:]
        elif "::".join([*here, parts[0]]) not in self.files:
            return None
        while parts and "::".join([*here, parts[0]]) in self.files:
            here, parts = [*here, parts[0]], parts[1:]
        page = "::".join(here) or "lib"
        export = self.exports.get(page, {}).get(parts[0]) if parts else None
        if export and hops < 20:
            return self.resolve(page, export, hops + 1) or page
        return page


def room_of(module, rooms):
    """The longest listed module that this one is or is in."""
    parts = module.split("::")
    for length in range(len(parts), 0, -1):
        if "/".join(parts[:length]) in rooms:
            return "/".join(parts[:length])
    return None


def circles(graph):
    """Groups of files that import each other (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def main():
    sys.setrecursionlimit(10_000)
    rooms, house = module_list(), House()
    wrong = []
    graph = {module: house.imports(module) for module in house.files if module not in EXEMPT}
    listed = {module: room_of(module, rooms) for module in graph}
    wrong += [f"{module} is in no module that ARCHITECTURE.md lists" for module, room in listed.items() if room is None]
    wrong += [f"ARCHITECTURE.md lists {room}, which does not exist" for room in rooms if room not in set(listed.values())]
    for module, targets in sorted(graph.items()):
        for target in sorted(targets):
            mine, theirs = listed[module], listed[target]
            if mine and theirs and rooms.index(theirs) > rooms.index(mine):
                wrong.append(f"{module} uses {target}: {theirs} stands after {mine}")
    files_only = {module: {target for target in targets if not house.is_page(target)} for module, targets in graph.items()}
    wrong += ["a circle: " + ", ".join(group) for group in circles(files_only)]
    print("\n".join(wrong) or f"{len(house.files)} files in {len(rooms)} modules: each uses only what stands before it")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
