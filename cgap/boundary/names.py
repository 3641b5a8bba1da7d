"""Names from outside: as text that may be printed, and as names of files and identifiers."""

import re
import unicodedata


def printable(text: str, longest: int | None = None) -> str:
    """Text from outside as what a terminal shows and no more, cut to `longest` characters.

    Control characters, among them the escapes that move a terminal's cursor, letters that reorder or hide the text
    around them and halves of surrogate pairs become visible escapes such as `\\x1b`. Line ends and tabs stay.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 3]}..."
    return "".join(letter if letter in "\n\t" or letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


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
