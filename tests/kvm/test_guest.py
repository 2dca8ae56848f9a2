"""The PC on the real KVM, with guests of a few instructions: 32-bit code, written out here."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kvmabi import cli
from kvmabi.errors import GuestCrash, GuestTimeout, ImageError
from kvmabi.kvm import System
from kvmabi.vmm.pc import PcConfig, PcMachine, layout

pytestmark = pytest.mark.kvm

AT = 0x20_0000
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System.open() as opened:
        yield opened


def image(code: bytes) -> bytes:
    """A multiboot ELF32 image that starts with this code."""
    magic = 0x1BADB002
    header = struct.pack("<III", magic, 0, -magic & 0xFFFF_FFFF)
    body = header + code
    head = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, AT + 12, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    table = struct.pack("<8I", 1, 84, AT, AT, len(body), len(body), 7, 4)
    return b"\x7fELF\x01\x01\x01" + bytes(9) + head + table + body


def put(text: bytes) -> bytes:
    """Send text by the serial port."""
    out = b"\x66\xba" + layout.SERIAL_PORT.to_bytes(2, "little")  # mov $port, %dx
    return out + b"".join(b"\xb0" + bytes([char]) + b"\xee" for char in text)


def leave(value: int) -> bytes:
    """Write a value to the debug-exit port; then wait for ever."""
    return b"\xb8" + value.to_bytes(4, "little") + b"\xe7\xf4" + HANG


HANG = b"\xeb\xfe"
CRASH = b"\x0f\x01\x1d\x00\x00\x00\x00\xcc"
"""lidt 0 (memory there is zeroes); int3: no gate for it, nor for what follows."""


def boot(
    system: System, code: bytes, deadline_s: float = DEADLINE_S, **config
) -> tuple[int, bytes]:
    said = bytearray()
    with PcMachine(system, image(code), PcConfig(**config), said.extend) as machine:
        return machine.run(deadline_s), bytes(said)


@pytest.mark.parametrize(("value", "status"), [(0, 1), (1, 3), (77, 155)])
def test_a_guest_speaks_and_leaves_with_its_status(system, value: int, status: int) -> None:
    assert boot(system, put(b"hi") + leave(value)) == (status, b"hi")


def test_a_guest_starts_as_a_multiboot_loader_leaves_it(system) -> None:
    # cmp $magic, %eax; jne hang; mov (%ebx), %eax; out %eax, $0xf4
    code = b"\x3d" + (0x2BADB002).to_bytes(4, "little") + b"\x75\x04\x8b\x03\xe7\xf4" + HANG
    flags = 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    assert boot(system, code)[0] == flags << 1 | 1


def test_the_command_line_is_the_name_and_what_is_appended(system) -> None:
    # mov 16(%ebx), %esi; mov $5, %ecx; mov $0x3f8, %dx; rep outsb
    code = b"\x8b\x73\x10\xb9\x05\x00\x00\x00\x66\xba\xf8\x03\xf3\x6e" + leave(0)
    assert boot(system, code, name="me", append="or you") == (1, b"me or")


def test_a_guest_that_hangs_meets_its_deadline(system) -> None:
    with pytest.raises(GuestTimeout, match=r"vCPU 0 had not ended within 0\.2 s"):
        boot(system, put(b"x") + HANG, 0.2)


def test_a_guest_that_halts_for_ever_meets_its_deadline_too(system) -> None:
    with pytest.raises(GuestTimeout):
        boot(system, b"\xfa\xf4", 0.2, cpus=2)  # cli; hlt


def test_a_fault_that_nothing_handles_is_a_crash_and_says_where(system) -> None:
    with pytest.raises(GuestCrash, match=r"(triple fault|internal error).*vCPU 0 at rip 0x2000"):
        boot(system, CRASH)


def test_cpus_that_are_never_started_do_not_hinder_the_end(system) -> None:
    assert boot(system, leave(0), cpus=4) == (1, b"")


@pytest.mark.parametrize("memory", [4 * layout.MIB, 5 * layout.GIB])
def test_fw_cfg_tells_the_memory(system, memory: int) -> None:
    # select item 3, read byte 3 and byte 4 of it, leave with them
    skip = b"\xec" * 3
    code = b"\x66\xba\x10\x05\x66\xb8\x03\x00\x66\xef\x42" + skip + b"\xec\x88\xc4\xec\x86\xe0"
    code += b"\x0f\xb7\xc0\xe7\xf4" + HANG  # movzwl %ax, %eax; out
    assert boot(system, code, memory_bytes=memory)[0] >> 1 == memory >> 24 & 0xFFFF


@pytest.mark.parametrize(("size", "top"), [(0, 0), (1 << 30, 0x8), (1 << 36, 0x10)])
def test_a_guest_finds_bar2_and_its_size(system, size: int, top: int) -> None:
    # the high register (0x1c) of 00:02.0: what firmware has put there, then all ones and back
    select = b"\x66\xba\xf8\x0c\xb8\x1c\x10\x00\x80\xef\x66\xba\xfc\x0c"
    read = select + b"\xed\xe7\xf4" + HANG  # in %dx, %eax; out %eax, $0xf4
    sizing = select + b"\xb8\xff\xff\xff\xff\xef\xed\xe7\xf4" + HANG
    assert boot(system, read, membar_bytes=size)[0] >> 1 == top
    mask = -size >> 32 & 0xFFFF_FFFF if size else 0
    assert boot(system, sizing, membar_bytes=size)[0] >> 1 == mask


def test_a_bad_image_makes_no_machine(system) -> None:
    with pytest.raises(ImageError, match="no multiboot image"):
        PcMachine(system, b"nothing", PcConfig(), print)


def run_verb(tmp_path, capfd, code: bytes, *more: str) -> tuple[int, str, str]:
    path = tmp_path / "guest.flat"
    path.write_bytes(image(code))
    status = cli.main(["guest", str(path), *more])
    sys.stdout.flush()
    return (status, *capfd.readouterr())


def test_the_verb_gives_the_guests_words_and_status(tmp_path, capfd) -> None:
    assert run_verb(tmp_path, capfd, put(b"words\n") + leave(2)) == (5, "words\n", "")


def test_a_guest_receives_what_comes_on_stdin(tmp_path) -> None:
    # mov $0x3fd, %dx; wait: in %dx, %al; test $1, %al; jz wait; mov $0x3f8, %dx; in; out; twice
    receive = b"\x66\xba\xfd\x03\xec\xa8\x01\x74\xfb\x66\xba\xf8\x03\xec\xee"
    path = tmp_path / "echo.flat"
    path.write_bytes(image(2 * receive + leave(0)))
    command = [sys.executable, "-m", "kvmabi", "guest", str(path), "--stdin"]
    done = subprocess.run(command, input=b"hi", capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"hi", b"")


def test_the_verb_says_how_a_pv_test_is_registered(tmp_path, capfd) -> None:
    port = layout.BAR1_PORT.to_bytes(2, "little")
    code = b"\x66\xba" + port + b"\xb0\x03\xee" + leave(0)  # start test 3 of the I/O BAR
    status, out, notes = run_verb(tmp_path, capfd, code)
    assert (status, out) == (1, "")
    assert notes == "kvmabi guest: portio-pv-eventfd: by any-length\n"


def test_the_verb_ends_a_guest_that_hangs(tmp_path, capfd) -> None:
    status, _, notes = run_verb(tmp_path, capfd, HANG, "--timeout", "0.2")
    assert status == 4
    assert notes.startswith("kvmabi guest: vCPU 0 had not ended within 0.2 s")


@pytest.mark.parametrize(
    "more", [["--smp", "0"], ["--smp", "65"], ["--memory", "1M"], ["--membar", "3M"]]
)
def test_the_verb_refuses_a_pc_that_cannot_be(tmp_path, capfd, more: list[str]) -> None:
    status, _, notes = run_verb(tmp_path, capfd, leave(0), *more)
    assert status == 2
    assert notes.count("\n") == 1
