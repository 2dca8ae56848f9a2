"""Rows of TOML become faults, and a row that is wrong is told with its file and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmabi.errors import UsageError
from kvmabi.lab.mutation.faults import Needs, choose, read_faults

SUBJECT = """\
about = "a subject"
file = "virt/kvm/eventfd.c"
in = "ioeventfd_write"

[[fault]]
name = "one"
promise = 1
about = "one edit, with what the file shares"
find = "return 0;"
replace = ""
"""


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str):
        (tmp_path / "subject.toml").write_text(text)
        return read_faults(tmp_path)

    return read


def test_a_row_has_what_its_file_shares(read) -> None:
    (fault,) = read(SUBJECT)
    (edit,) = fault.patch.edits
    assert (fault.name, fault.promise, fault.subject, fault.needs) == (
        "one",
        1,
        "subject",
        Needs.SVM,
    )
    assert (edit.file, edit.within, edit.find) == (
        "virt/kvm/eventfd.c",
        "ioeventfd_write",
        "return 0;",
    )
    assert fault.must_be_killed


def test_a_row_may_leave_the_scope_and_have_several_edits(read) -> None:
    text = SUBJECT + (
        '[[fault]]\nname = "two"\npromise = 2\nabout = ""\nin = ""\n'
        'edit = [{ find = "a", replace = "b" },'
        ' { find = "c", after = "d", file = "virt/kvm/kvm_main.c", in = "f" }]\n'
    )
    fault = read(text.replace('in = ""\n', ""))[1]
    assert [edit.within for edit in fault.patch.edits] == ["ioeventfd_write", "f"]
    assert fault.files == ("virt/kvm/eventfd.c", "virt/kvm/kvm_main.c")


def test_an_empty_scope_is_the_whole_file(read) -> None:
    (fault,) = read(SUBJECT + 'in = ""\n')
    assert fault.patch.edits[0].within == ""


def test_a_control_breaks_no_promise_and_must_survive(read) -> None:
    text = SUBJECT.replace("promise = 1", 'harmless = "it is the same"')
    (fault,) = read(text)
    assert (fault.promise, fault.must_be_killed) == (0, False)


def test_a_fault_that_cannot_be_seen_need_not_be_killed(read) -> None:
    (fault,) = read(SUBJECT + 'unseen = "it only makes room"\n')
    assert not fault.must_be_killed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("promise = 1", "promise = 99"), "fault 1 .one.: 99 is no number of a promise"),
        (("promise = 1", ""), "0 is no number of a promise"),
        (('name = "one"\n', ""), "subject.toml, fault 1: 'name'"),
        (('find = "return 0;"\n', ""), "fault 1 .one.: an edit needs a find"),
        (("replace", "repalce"), "an edit has no repalce"),
        (("promise = 1", 'promise = 1\nneeds = "luck"'), "'luck' is not a valid Needs"),
        (('about = "a subject"', 'abuot = ""'), "a file of faults has no abuot"),
        (("[[fault]]", "[[fault"), "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(read, change: tuple[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read(SUBJECT.replace(*change))


def test_two_faults_of_one_name_are_refused(read) -> None:
    row = SUBJECT.partition("[[fault]]")[2]
    with pytest.raises(UsageError, match="two faults of one name: one"):
        read(f"{SUBJECT}[[fault]]{row}")


def test_faults_are_chosen_by_name(read) -> None:
    faults = read(SUBJECT)
    assert choose(faults, ["one"]) == faults
    with pytest.raises(UsageError, match="no fault other"):
        choose(faults, ["one", "other"])
