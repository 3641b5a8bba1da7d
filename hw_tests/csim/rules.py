"""Rules of synthesisable C++ that need no vendor tool: clang's front end over the emitted files.

The code is read as the vendor's compiler sees it (`__SYNTHESIS__`), against declarations of the vendor's types that are
only good for that. Names are resolved by clang; pragmas, which clang ignores, are taken from the preprocessor's output.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clang.cindex import Cursor, CursorKind, Index

VENDOR = {
    "ap_int.h": """#pragma once
template <int W> struct ap_uint {
  ap_uint(); ap_uint(unsigned long long);
  operator unsigned long long() const;
  ap_uint operator>>(int) const; ap_uint operator<<(int) const; ap_uint operator|(const ap_uint &) const;
  ap_uint &operator|=(const ap_uint &); bool operator!=(int) const;
};
""",
    "hls_stream.h": """#pragma once
namespace hls { template <typename T, int DEPTH = 0> struct stream {
  bool empty(); bool full(); T read(); void write(const T &);
}; }
""",
    "hls_burst_maxi.h": """#pragma once
#include <stddef.h>
namespace hls { template <typename T> struct burst_maxi {
  void read_request(size_t, unsigned); T read(); void write_request(size_t, unsigned); void write(const T &);
  void write_response();
}; }
""",
}
"""Declarations of what the vendor's headers have, as far as the emitted code uses it."""

BOTH = {
    "INLINE": {"off", "recursive"},
    "PIPELINE": {"II"},
    "UNROLL": set(),
    "LOOP_TRIPCOUNT": {"min", "max", "avg"},
    "ARRAY_PARTITION": {"variable", "complete", "dim"},
    "DEPENDENCE": {"variable", "inter", "false"},
    "INTERFACE": {
        *("m_axi", "s_axilite", "port", "bundle", "offset", "depth", "latency", "num_read_outstanding"),
        *("num_write_outstanding", "max_read_burst_length", "max_write_burst_length"),
    },
}
"""Pragmas that both tools know, with the options that the emitted code may give them."""
PRAGMAS = {
    "vitis": {
        **BOTH,
        "DATAFLOW": set(),
        "PIPELINE": {"II", "off"},
        "STREAM": {"variable", "depth"},
        "BIND_STORAGE": {"variable", "type", "impl"},
        "BIND_OP": {"variable", "op", "impl"},
    },
    "vivado": {**BOTH, "RESOURCE": {"variable", "core"}},
}
VALUES = {
    "BIND_OP": {"op": {"mul"}, "impl": {"dsp", "fabric"}},
    "BIND_STORAGE": {"type": {"RAM_S2P"}, "impl": {"BRAM", "URAM", "LUTRAM"}},
    "RESOURCE": {"core": {"DSP48", "Mul_LUT", "RAM_S2P_BRAM"}},
}
"""What the tools know of the values that options may have, for what the emitted code binds."""
DEFINES = {"vitis": [], "vivado": ["-DSEQUENTIAL"]}
OWNERS = (
    "read_copy_b",
    "write_pages",
    "wave",
    "LineFetch::read",
    "Drain::step",
    "Loader::take",
    "Loader::take_weights",
)
"""Functions that access a memory: each owns one port of it, so a cycle may call each once."""
MEMORIES = {"features", "weights", "parameters"}
FORBIDDEN = {
    CursorKind.CXX_NEW_EXPR: "heap",
    CursorKind.CXX_DELETE_EXPR: "heap",
    CursorKind.CXX_THROW_EXPR: "exception",
    CursorKind.CXX_TRY_STMT: "exception",
    CursorKind.CXX_DYNAMIC_CAST_EXPR: "run-time type",
    CursorKind.CXX_TYPEID_EXPR: "run-time type",
    CursorKind.GOTO_STMT: "goto",
}
LOOPS = (CursorKind.FOR_STMT, CursorKind.WHILE_STMT, CursorKind.DO_STMT)
FUNCTIONS = (CursorKind.FUNCTION_DECL, CursorKind.FUNCTION_TEMPLATE, CursorKind.CXX_METHOD, CursorKind.CONSTRUCTOR)


@dataclass(frozen=True)
class Pragma:
    """One `#pragma HLS` where it stands."""

    file: str
    line: int
    name: str
    options: tuple[tuple[str, str], ...]


def check(folder: Path, tool: str, include: Path, source: str = "accelerator.cpp") -> list[str]:
    """All breaches in what `source` of an emitted folder compiles to for a tool, `vitis` or `vivado`.

    `include` is a folder for the vendor's declarations.
    """
    for name, text in VENDOR.items():
        (include / name).write_text(text)
    flags = ["-x", "c++", "-std=c++14", "-D__SYNTHESIS__", *DEFINES[tool], f"-I{folder}", f"-I{include}"]
    own = subprocess.run(["g++", "-print-file-name=include"], check=True, capture_output=True, text=True).stdout.strip()
    unit = Index.create().parse(str(folder / source), args=[*flags, "-isystem", own, "-Wno-everything"])
    errors = [str(each) for each in unit.diagnostics if each.severity >= 3]
    if errors:
        return [f"clang: {error}" for error in errors]
    pragmas = list(read_pragmas(folder / source, flags[2:]))
    functions = [f for f in _inside(unit.cursor, folder) if f.kind in FUNCTIONS and f.is_definition()]
    functions = [f for f in functions if not _is_constexpr(f)]  # what is computed while compiling may be anything
    faults = [*_subset(functions, folder), *_recursion(functions)]
    faults += [*_pragmas(functions, pragmas, PRAGMAS[tool]), *_loops(functions, pragmas), *_indices(functions)]
    if not any("recursion" in fault for fault in faults):  # which following calls would not survive
        faults += [*_ports(functions, pragmas), *_inlined(functions, pragmas), *_responses(functions)]
    return sorted(set(faults))


def read_pragmas(source: Path, flags: list[str]) -> Iterator[Pragma]:
    """The pragmas that are left after preprocessing."""
    text = subprocess.run(["g++", "-E", *flags, str(source)], check=True, capture_output=True, text=True).stdout
    file, line = "", 0
    for each in text.splitlines():
        marker = re.match(r'# (\d+) "([^"]*)"', each)
        if marker:
            line, file = int(marker[1]), marker[2]
            continue
        found = re.match(r"#pragma HLS (\w+)(.*)", each)
        if found:
            words = re.findall(r"(\w+)(?:=([^\s]+))?", found[2])
            yield Pragma(str(Path(file)), line, found[1], tuple(words))
        line += 1


def _inside(cursor: Cursor, folder: Path) -> Iterator[Cursor]:
    """All cursors in the emitted files."""
    for child in cursor.get_children():
        if child.location.file is not None and Path(child.location.file.name).is_relative_to(folder):
            yield from child.walk_preorder()


def _name(cursor: Cursor) -> str:
    parent = cursor.semantic_parent
    owner = f"{parent.spelling}::" if parent is not None and parent.kind.is_declaration() and parent.spelling else ""
    return f"{owner}{cursor.spelling}" if cursor.kind is CursorKind.CXX_METHOD else cursor.spelling


def _place(cursor: Cursor) -> str:
    return f"{Path(cursor.location.file.name).name}:{cursor.location.line}"


def _subset(functions: list[Cursor], folder: Path) -> Iterator[str]:
    """No heap, exceptions, virtual calls or calls of what is neither emitted nor the vendor's."""
    for function in functions:
        if function.is_virtual_method():
            yield f"{_place(function)}: {function.spelling} is virtual"
        for cursor in function.walk_preorder():
            if cursor.kind in FORBIDDEN:
                yield f"{_place(cursor)}: {FORBIDDEN[cursor.kind]} in {function.spelling}"
            target = cursor.referenced if cursor.kind is CursorKind.CALL_EXPR else None
            if target is not None and target.location.file is not None:
                file = Path(target.location.file.name)
                if not file.is_relative_to(folder) and file.name not in VENDOR:
                    yield f"{_place(cursor)}: {function.spelling} calls {target.spelling} of the host"


def _calls(cursor: Cursor) -> Iterator[str]:
    """Names of what is called below a cursor, as often as it is; those of templates by their spelling alone."""
    for each in cursor.walk_preorder():
        if each.kind is CursorKind.CALL_EXPR:
            target = each.referenced
            # A call that depends on a template's parameter is not resolved: what it is written as tells its name.
            name = each.spelling or _written(each)
            yield _name(target) if target is not None else name


def _written(call: Cursor) -> str:
    """The name before a call's arguments; none where it has a template's, which make another function of it."""
    name = ""
    for token in call.get_tokens():
        if token.spelling in ("(", "<"):
            return name if token.spelling == "(" else ""
        name = token.spelling
    return ""


def _bodies(functions: list[Cursor]) -> dict[str, list[str]]:
    """Calls of every function by its name, with those of methods under their bare name, too."""
    found: dict[str, list[str]] = {}
    for function in functions:
        calls = list(_calls(function))
        found[_name(function)] = calls
        if _name(function).startswith(("Movers::", "NoMovers::")):
            found[function.spelling] = calls
    return found


def _recursion(functions: list[Cursor]) -> Iterator[str]:
    bodies = _bodies(functions)

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield f"recursion: {' -> '.join((*path[path.index(name) :], name))}"
            return
        for call in dict.fromkeys(bodies.get(name, ())):
            yield from visit(call, (*path, name))

    for name in bodies:
        yield from visit(name, ())


def _within(pragma: Pragma, cursor: Cursor) -> bool:
    extent = cursor.extent
    return pragma.file == extent.start.file.name and extent.start.line <= pragma.line <= extent.end.line


def _pragmas(functions: list[Cursor], pragmas: list[Pragma], known: dict[str, set[str]]) -> Iterator[str]:
    """Known to the tool, with options that it takes, about variables and ports that are there."""
    for pragma in pragmas:
        where = f"{Path(pragma.file).name}:{pragma.line}: {pragma.name}"
        if pragma.name not in known:
            yield f"{where} is not known"
            continue
        around = [function for function in functions if _within(pragma, function)]
        if not around:
            yield f"{where} stands in no function"
            continue
        declared = {
            cursor.spelling
            for cursor in around[-1].walk_preorder()
            if cursor.kind in (CursorKind.VAR_DECL, CursorKind.PARM_DECL)
        }
        for option, value in pragma.options:
            if option not in known[pragma.name]:
                yield f"{where} has no option {option}"
            taken = VALUES.get(pragma.name, {}).get(option)
            if taken is not None and value not in taken:
                yield f"{where} knows no {option} {value}"
            name = value.partition(".")[0]
            if option in ("variable", "port") and name not in declared and name != "return":
                yield f"{where} is about {value}, which is not there"


def _loops(functions: list[Cursor], pragmas: list[Pragma]) -> Iterator[str]:
    """Every loop has constant bounds, or says how often it runs."""
    for function in functions:
        counters: set[str] = set()  # of constant loops, which those inside them may count to
        for loop in function.walk_preorder():
            if loop.kind not in LOOPS or _constant(loop, counters):
                continue
            if not any(pragma.name == "LOOP_TRIPCOUNT" for pragma in _own(loop, pragmas)):
                yield f"{_place(loop)}: a loop without bound or trip count in {function.spelling}"


def _indices(functions: list[Cursor]) -> Iterator[str]:
    """Registers are chosen by what varies alone: mixed with a loop's counter, all would be candidates each time."""
    for function in functions:
        loops = [each for each in function.walk_preorder() if each.kind is CursorKind.FOR_STMT]
        heads = [next(iter(loop.get_children())) for loop in loops]
        counters = {
            each.spelling for head in heads for each in head.walk_preorder() if each.kind is CursorKind.VAR_DECL
        }
        for access in function.walk_preorder():
            if access.kind is not CursorKind.ARRAY_SUBSCRIPT_EXPR:
                continue
            base, index = list(access.get_children())
            if base.spelling in MEMORIES | {"memory"}:
                continue
            used = {each.spelling for each in index.walk_preorder() if _varies(each)}
            if used & counters and used - counters:
                yield f"{_place(access)}: {base.spelling} is indexed by {' and '.join(sorted(used))} at once"


def _varies(cursor: Cursor) -> bool:
    if cursor.kind is CursorKind.MEMBER_REF_EXPR:
        return True
    target = cursor.referenced if cursor.kind is CursorKind.DECL_REF_EXPR else None
    return target is not None and (
        target.kind is CursorKind.PARM_DECL or (target.kind is CursorKind.VAR_DECL and not _is_constexpr(target))
    )


def _own(loop: Cursor, pragmas: list[Pragma]) -> list[Pragma]:
    """The pragmas of a loop, without those of loops in it."""
    inner = [each for each in loop.walk_preorder() if each.kind in LOOPS and each != loop]
    return [p for p in pragmas if _within(p, loop) and not any(_within(p, each) for each in inner)]


def _constant(loop: Cursor, counters: set[str]) -> bool:
    """Whether a `for` loop compares its variable with constants or `counters`; if so, adds the variable to these."""
    children = list(loop.get_children())
    if loop.kind is not CursorKind.FOR_STMT or len(children) < 4:
        return False
    own = {each.spelling for each in children[0].walk_preorder() if each.kind is CursorKind.VAR_DECL}
    for each in children[1].walk_preorder():
        if each.kind is CursorKind.MEMBER_REF_EXPR:
            return False
        if each.kind is not CursorKind.DECL_REF_EXPR or each.spelling in own | counters:
            continue
        target: Any = each.referenced
        if target is None or target.kind is CursorKind.PARM_DECL:
            return False
        if target.kind is CursorKind.VAR_DECL and not _is_constexpr(target):
            return False
    counters |= own
    return True


def _is_constexpr(cursor: Cursor) -> bool:
    return any(token.spelling == "constexpr" for _, token in zip(range(6), cursor.get_tokens(), strict=False))


def _ports(functions: list[Cursor], pragmas: list[Pragma]) -> Iterator[str]:
    """Memories are accessed by their ports' owners alone, each called once at most in an iteration of a pipeline."""
    allowed = {*OWNERS, "read_half"}
    for function in functions:
        for cursor in function.walk_preorder():
            if cursor.kind is CursorKind.ARRAY_SUBSCRIPT_EXPR and _name(function) not in allowed:
                base = next(iter(cursor.get_children()), None)
                if base is not None and base.spelling in MEMORIES:
                    yield f"{_place(cursor)}: {_name(function)} accesses {base.spelling} and owns no port of it"
    bodies = _bodies(functions)

    def count(name: str, owner: str) -> int:
        return int(name == owner) + sum(count(call, owner) for call in bodies.get(name, ()))

    for function in functions:
        for loop in function.walk_preorder():
            pipelined = loop.kind in LOOPS and any(pragma.name == "PIPELINE" for pragma in _own(loop, pragmas))
            for owner in OWNERS if pipelined else ():
                calls = sum(count(call, owner) for call in _calls(loop))
                if calls > 1:
                    yield f"{_place(loop)}: {calls} uses of the port of {owner} in an iteration"


def _outside_loops(cursor: Cursor) -> Iterator[Cursor]:
    """Cursors below one that are in no loop below it."""
    for child in cursor.get_children():
        if child.kind not in LOOPS:
            yield child
            yield from _outside_loops(child)


def _responses(functions: list[Cursor]) -> Iterator[str]:
    """No stream is written in the loop that takes a write response.

    A response has no value, so a tool may schedule the stream's write, which depends on none, before it.
    """
    bodies = _bodies(functions)

    def reached(name: str) -> set[str]:
        return {name}.union(*(reached(call) for call in set(bodies.get(name, ()))))

    for function in functions:
        for loop in function.walk_preorder():
            if loop.kind not in LOOPS:
                continue
            calls = [each for each in _outside_loops(loop) if each.kind is CursorKind.CALL_EXPR]
            names = set().union(*(reached(_name(each.referenced)) for each in calls if each.referenced is not None))
            if any(name.endswith("write_response") for name in names) and "stream::write" in names:
                yield f"{_place(loop)}: a stream is written in the loop that takes a response"


def _inlined(functions: list[Cursor], pragmas: list[Pragma]) -> Iterator[str]:
    """What a pipeline calls is dissolved in it, all the way down: its function says so, or one that calls it."""
    bodies = _bodies(functions)

    def called_from(name: str) -> set[str]:
        return {name}.union(*(called_from(call) for call in set(bodies.get(name, ()))))

    def has(function: Cursor, name: str, option: str) -> bool:
        return any(p.name == name and (option, "") in [*p.options, ("", "")] and _within(p, function) for p in pragmas)

    inlined = set().union(*(called_from(_name(f)) for f in functions if has(f, "INLINE", "recursive")))
    for function in functions:
        calls = [name for name in bodies[_name(function)] if name in bodies]
        if calls and _name(function) not in inlined and has(function, "PIPELINE", ""):
            yield f"{_place(function)}: {_name(function)} has a pipeline and is not inlined recursively"
