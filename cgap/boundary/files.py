"""Writing output so that a kill at any moment leaves the old or the new, and turning hostile text into file names.

A new file or folder is made under a temporary name beside its target (`.NAME.PID.part`) and swapped in when it is
complete. What a killed process left under such a name is removed by the next `replace_folder` of the same target, and
from a folder of files by `remove_leftovers`.
"""

import ctypes
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpga_model.errors import UserError

# A folder made here carries this empty file. A folder without it is somebody else's and is never replaced.
MARKER = ".cgap"


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file (text as UTF-8 with \\n line ends), making its folder when needed.

    Readers see the old content or the new, also after a power cut. The file's permissions follow the umask.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of the files that `write_atomic` was writing into this folder."""
    pattern = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.part")
    for entry in sorted(folder.glob(".*.part")):
        match = pattern.fullmatch(entry.name)
        if match and not _is_running(int(match[1])) and entry.is_file():
            entry.unlink()


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Build a whole folder: `with replace_folder(Path("build/x")) as new: ...` writes into `new`.

    When the block ends, `new` takes the place of `target` in one step. When it raises, `target` stays as it was and
    `new` is removed. Raises UserError when `target` is a file, or holds files that were not made by this function
    (a mistyped `--out` must not cost anyone a folder).
    """
    target = target.resolve()
    _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _recover(target)
    new = target.with_name(f".{target.name}.{os.getpid()}.part")
    new.mkdir()
    try:
        (new / MARKER).touch()
        yield new
        _check_replaceable(target)
        _swap_in(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target} is a file, and a folder is to be written there: move it, or choose another place")
    if not (target / MARKER).exists() and any(target.iterdir()):
        raise UserError(
            f"{target} holds files that cgap did not make, and would be replaced: choose another place, or empty it"
        )


def _swap_in(new: Path, target: Path) -> None:
    """Give the complete folder `new` the name `target`; what `target` was ends under the name `new`, or nowhere."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        # Two steps where the system cannot exchange names: a kill between them leaves only `old`, for _recover.
        old = new.with_suffix(".old")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap the names of two folders in one step. False where the system cannot (not Linux, or an old file system)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    return bool(renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), rename_exchange) == 0)


def _recover(target: Path) -> None:
    """Clear up after killed processes: put back an old folder that lost its name, remove what was half built."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"(\d+)\.(part|old)")
    for entry in sorted(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or _is_running(int(match[1])):
            continue
        if match[2] == "old" and not target.exists():
            entry.rename(target)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False  # the number was used before: this process builds a target once at a time
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


_MAX_NAME = 64  # room for suffixes and extensions under the usual limit of 255, and readable

# C++20, with names that the standard library or the compiler defines as macros
_CPP_WORDS = """
alignas alignof and and_eq asm assert auto bitand bitor bool break case catch char char8_t char16_t char32_t class
co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default
delete do double dynamic_cast else enum errno explicit export extern false float for friend goto if inline int linux
long main mutable namespace new noexcept not not_eq null nullptr operator or or_eq private protected public register
reinterpret_cast requires return short signed sizeof static static_assert static_cast std struct switch template this
thread_local throw true try typedef typeid typename union unix unsigned using virtual void volatile wchar_t while xor
xor_eq
"""
# SystemVerilog (IEEE 1800-2017), those that are not above
_SYSTEMVERILOG_WORDS = """
accept_on alias always always_comb always_ff always_latch assign assume automatic before begin bind bins binsof bit
buf bufif0 bufif1 byte casex casez cell chandle checker clocking cmos config constraint context cover covergroup
coverpoint cross deassign defparam design disable dist edge end endcase endchecker endclass endclocking endconfig
endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty endspecify
endsequence endtable endtask event eventually expect extends final first_match force foreach forever fork forkjoin
function generate genvar global highz0 highz1 iff ifnone ignore_bins illegal_bins implements implies import incdir
include initial inout input inside instance integer interconnect interface intersect join join_any join_none large let
liblist library local localparam logic longint macromodule matches medium modport module nand negedge nettype nexttime
nmos nor noshowcancelled notif0 notif1 output package packed parameter pmos posedge primitive priority program property
pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real
realtime ref reg reject_on release repeat restrict rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
s_until s_until_with scalared sequence shortint shortreal showcancelled small soft solve specify specparam string
strong strong0 strong1 super supply0 supply1 sync_accept_on sync_reject_on table tagged task throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type unique unique0 until until_with
untyped use uwire var vectored wait wait_order wand weak weak0 weak1 wildcard wire with within wor xnor
"""
# Device names that some file systems refuse
_DEVICE_WORDS = """
aux com0 com1 com2 com3 com4 com5 com6 com7 com8 com9 con lpt0 lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8 lpt9 nul prn
"""
# Names are compared without case: one that differs from a reserved word only in case is changed too, at no harm.
_RESERVED = frozenset(f"{_CPP_WORDS} {_SYSTEMVERILOG_WORDS} {_DEVICE_WORDS}".split())


def safe_name(original: str, taken: set[str]) -> str:
    """A readable name made from any text, for files and for C++ and SystemVerilog identifiers alike.

    The result matches `[A-Za-z][A-Za-z0-9_]*` with no double or trailing underscore (C++ reserves the former), has at
    most 64 characters, is no reserved word, and differs from every name in `taken` in more than case. It is added to
    `taken`, in lower case; the same originals in the same order give the same names.
    """
    ascii_text = unicodedata.normalize("NFKD", original[:4096]).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", ascii_text).strip("_")[:_MAX_NAME].rstrip("_") or "unnamed"
    if name[0].isdigit():
        name = f"n{name}"[:_MAX_NAME].rstrip("_")
    if name.lower() in _RESERVED:
        name += "_x"

    candidate, count = name, 1
    while candidate.lower() in taken:
        count += 1
        suffix = f"_{count}"
        candidate = name[: _MAX_NAME - len(suffix)].rstrip("_") + suffix
    taken.add(candidate.lower())
    return candidate
