"""A small assembler for classic BPF, the language of seccomp filters (linux/filter.h, linux/seccomp.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

LOAD_WORD = 0x20
"""BPF_LD | BPF_W | BPF_ABS: load a 32-bit word of `struct seccomp_data`."""
JUMP_EQUAL = 0x15
"""BPF_JMP | BPF_JEQ | BPF_K."""
JUMP_AT_LEAST = 0x35
"""BPF_JMP | BPF_JGE | BPF_K."""
JUMP_ANY_BIT = 0x45
"""BPF_JMP | BPF_JSET | BPF_K."""
RETURN = 0x06
"""BPF_RET | BPF_K."""

ALLOW = 0x7FFF0000
KILL = 0x80000000
"""SECCOMP_RET_KILL_PROCESS."""
ERRNO = 0x00050000

NUMBER_OFFSET = 0
ARCH_OFFSET = 4


def argument_offset(index: int, *, high: bool = False) -> int:
    """Offset of a half of argument `index` in `struct seccomp_data` on a little-endian machine."""
    return 16 + 8 * index + (4 if high else 0)


@dataclass(frozen=True)
class Instruction:
    """One `struct sock_filter`; jumps are relative to the next instruction."""

    code: int
    k: int
    if_true: int = 0
    if_false: int = 0

    def pack(self) -> bytes:
        """The eight bytes the kernel reads."""
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.k)


def load(offset: int) -> Instruction:
    """Load the 32-bit word at `offset` into the accumulator."""
    return Instruction(LOAD_WORD, offset)


def give(action: int) -> Instruction:
    """End with a verdict."""
    return Instruction(RETURN, action)


def when_equal(value: int, action: int) -> list[Instruction]:
    """Give `action` when the accumulator equals `value`, else go on."""
    return [Instruction(JUMP_EQUAL, value, 0, 1), give(action)]


def when_not_equal(value: int, action: int) -> list[Instruction]:
    """Give `action` unless the accumulator equals `value`."""
    return [Instruction(JUMP_EQUAL, value, 1, 0), give(action)]


def when_none_of(values: Sequence[int], action: int) -> list[Instruction]:
    """Give `action` unless the accumulator equals one of `values`."""
    checks = [Instruction(JUMP_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    return [*checks, give(action)]


def when_at_least(value: int, action: int) -> list[Instruction]:
    """Give `action` when the accumulator is at least `value` (unsigned)."""
    return [Instruction(JUMP_AT_LEAST, value, 0, 1), give(action)]


def when_any_bit(mask: int, action: int) -> list[Instruction]:
    """Give `action` when the accumulator has a bit of `mask`."""
    return [Instruction(JUMP_ANY_BIT, mask, 0, 1), give(action)]


def for_number(number: int, body: Sequence[Instruction]) -> list[Instruction]:
    """Run `body` for system call `number` only, then load the number again. Expects the number loaded."""
    reloaded = [*body, load(NUMBER_OFFSET)]
    return [Instruction(JUMP_EQUAL, number, 0, len(reloaded)), *reloaded]


def assemble(program: Sequence[Instruction]) -> bytes:
    """The program's bytes. Raises ValueError past the kernel's 4,096 instructions."""
    if not 0 < len(program) <= 4096:
        raise ValueError(f"a BPF program has 1 to 4096 instructions, not {len(program)}")
    return b"".join(instruction.pack() for instruction in program)
