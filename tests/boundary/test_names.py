"""Colliding file names, broken C++ or a terminal that obeys a model would follow if these failed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgap.boundary import names
from cgap.boundary.names import printable, safe_name

identifier = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@given(st.lists(st.text(max_size=80)), st.sets(st.from_regex(r"[a-z]{1,3}", fullmatch=True)))
def test_safe_names_are_unique_identifiers(originals, taken):
    before = set(taken)
    made = [safe_name(original, taken) for original in originals]
    for name in made:
        assert identifier.fullmatch(name)
        assert "__" not in name
        assert not name.endswith("_")
        assert len(name) <= 64
        assert name.lower() not in names._RESERVED
    lower = [name.lower() for name in made]
    assert len(set(lower)) == len(lower)
    assert not before & set(lower)
    assert taken == before | set(lower)


@given(st.lists(st.text(max_size=30)))
def test_safe_names_are_the_same_each_time(originals):
    first: set[str] = set()
    second: set[str] = set()
    assert [safe_name(text, first) for text in originals] == [safe_name(text, second) for text in originals]


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("layer1.0.conv1", "layer1_0_conv1"),
        ("/stage1/block0/Conv_12", "stage1_block0_Conv_12"),
        ("../../etc/passwd", "etc_passwd"),
        ("C:\\windows\\nul", "C_windows_nul"),
        ("a\"; system('rm -rf /'); //", "a_system_rm_rf"),
        ("line1\nline2\r\0", "line1_line2"),
        ("*/ #include <x>", "include_x"),
        ("Übergrößenträger", "Ubergroentrager"),
        ("卷积", "unnamed"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("3x3", "n3x3"),
        ("int", "int_x"),
        ("INT", "INT_x"),
        ("logic", "logic_x"),
        ("CON", "CON_x"),
        ("__init__", "init"),
        ("a__b", "a_b"),
        ("conv²", "conv2"),
    ],
)
def test_readable_names(original, expected):
    assert safe_name(original, set()) == expected


def test_ten_thousand_characters():
    taken: set[str] = set()
    names = [safe_name("x" * 10_000, taken) for _ in range(12)]
    assert names[0] == "x" * 64
    assert names[-1] == "x" * 61 + "_12"
    assert len(set(names)) == 12


def test_names_differing_in_case_only_are_told_apart():
    taken: set[str] = set()
    assert [safe_name(text, taken) for text in ("Conv", "conv", "CONV", "conv_2")] == [
        "Conv",
        "conv_2",
        "CONV_3",
        "conv_2_2",
    ]


# printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00fcber \u6f22\u5b57\n\tnext", "plain, \u00fcber \u6f22\u5b57\n\tnext"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\u202egpj.exe", "safe\\u202egpj.exe"),
        ("a\rb\x00\u2028", "a\\rb\\x00\\u2028"),
        ("\udcff", "\\udcff"),
        ("[/]", "[/]"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown):
    assert printable(text) == shown
    assert printable("x" * 5_000, 4_000) == "x" * 3_997 + "..."


@given(st.text())
def test_nothing_unprintable_is_left(text):
    assert all(letter.isprintable() or letter in "\n\t" for letter in printable(text))
