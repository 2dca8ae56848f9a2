"""A 16550 serial port without interrupts: what is sent goes to a function, reading is polled.

Source: the data sheet of National Semiconductor's PC16550D, 8.0 (registers).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

PORTS: Final = 8
DATA, INTERRUPT_ENABLE, INTERRUPT_ID, LINE_CONTROL, _, LINE_STATUS, MODEM_STATUS = range(7)
DIVISOR_ACCESS: Final = 1 << 7
FIFO_ENABLE: Final = 1 << 0
FIFOS_ON: Final = 0xC0
NO_INTERRUPT: Final = 0x01
DATA_READY: Final = 1 << 0
TRANSMITTER_EMPTY: Final = 0x60
CARRIER_READY_AND_CLEAR: Final = 0xB0


class Serial16550:
    """The port; `send` gets each byte that the guest transmits, `feed` puts bytes in its way."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._received: deque[int] = deque()
        self._registers = bytearray(PORTS)
        self._divisor = bytearray(b"\x0c\0")  # 9600 baud, as after a reset
        self._fifos = 0

    def feed(self, data: bytes) -> None:
        """Have the guest receive these bytes, when it asks."""
        self._received.extend(data)

    def read(self, offset: int, size: int) -> bytes:
        """The registers from this offset on."""
        return bytes(self._read(offset + at) for at in range(size))

    def write(self, offset: int, data: bytes) -> None:
        """Write registers from this offset on."""
        for at, value in enumerate(data, offset):
            self._write(at, value)

    def _read(self, register: int) -> int:
        if register == LINE_STATUS:
            return TRANSMITTER_EMPTY | (DATA_READY if self._received else 0)
        if register <= INTERRUPT_ENABLE and self._divisor_selected:
            return self._divisor[register]
        if register == DATA:
            return self._received.popleft() if self._received else 0
        if register == INTERRUPT_ID:
            return NO_INTERRUPT | self._fifos
        return CARRIER_READY_AND_CLEAR if register == MODEM_STATUS else self._registers[register]

    def _write(self, register: int, value: int) -> None:
        if register <= INTERRUPT_ENABLE and self._divisor_selected:
            self._divisor[register] = value
        elif register == DATA:
            self._send(bytes([value]))
        elif register == INTERRUPT_ID:
            self._fifos = FIFOS_ON if value & FIFO_ENABLE else 0
        elif register not in (LINE_STATUS, MODEM_STATUS):
            self._registers[register] = value

    @property
    def _divisor_selected(self) -> bool:
        return bool(self._registers[LINE_CONTROL] & DIVISOR_ACCESS)
