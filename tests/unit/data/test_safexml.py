"""XML: what is refused before anything is expanded or read."""

import pytest

from workbench.data.readers import safexml
from workbench.errors import InputError

BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"""


@pytest.mark.parametrize("content", [BOMB, OUTSIDE, "<!DOCTYPE a SYSTEM 'http://x/y.dtd'><a/>"])
def test_document_types_are_refused(tmp_path, content):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError, match="document type"):
        safexml.parse(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "content", [b"<a>", b"\x00\x01", b"<a></b>", b"<?xml version='1.0' encoding='nonsense'?><a/>", b"&"]
)
def test_what_is_not_well_formed_is_refused(tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(InputError, match="well-formed"):
        safexml.parse(tmp_path / "a.xml")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_text("<a>" + " " * 100 + "</a>")
    monkeypatch.setattr(safexml, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="MiB"):
        safexml.parse(tmp_path / "a.xml")


def test_deep_nesting_is_no_crash(tmp_path):
    (tmp_path / "a.xml").write_text("<a>" * 50_000 + "</a>" * 50_000)
    assert safexml.parse(tmp_path / "a.xml").tag == "a"


def test_numbers(tmp_path):
    large = "<h>9999999999999999999999</h>"
    (tmp_path / "a.xml").write_text(f"<a><n> 3 </n><v count='3'>1 2e1 -3</v><w count='2'>1</w><z>nan</z>{large}<e/></a>")
    root = safexml.parse(tmp_path / "a.xml")
    assert safexml.number(root, "n", "a.xml", int) == 3
    assert safexml.numbers(root, "v", "a.xml").tolist() == [1, 20, -3]
    for where, what in (("w", "promises"), ("missing", "no <missing>"), ("e", "no <e>")):
        with pytest.raises(InputError, match=what):
            safexml.numbers(root, where, "a.xml")
    with pytest.raises(InputError, match="not a number"):
        safexml.number(root, "z", "a.xml", float)
    with pytest.raises(InputError, match="not a number"):
        safexml.number(root, "h", "a.xml", int)
