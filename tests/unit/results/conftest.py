from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmabi.results import CaseRecord, Disagreement, RunRecord, Verdict

CaseMaker = Callable[..., CaseRecord]


@pytest.fixture
def run_record() -> RunRecord:
    return RunRecord(
        verb="matrix",
        kvmabi="0.1.0",
        started="2026-01-02T03:04:05+00:00",
        host={
            "kernel_release": "6.18.0-test",
            "kernel_version": "#1 SMP",
            "machine": "x86_64",
            "back_end": "kvm_none",
            "accelerator": "kvm",
        },
        abi={"version": "7.2", "mask": 0x1F, "mask_source": "BTF"},
        options={"filter": []},
        planned=3,
    )


@pytest.fixture
def make_case() -> CaseMaker:
    """Makes a case record of a verdict, whole in what that verdict needs."""

    def make(
        case_id: str, verdict: Verdict = Verdict.PASS, *, bus: str = "mmio", length: str = "4"
    ) -> CaseRecord:
        return CaseRecord(
            id=case_id,
            verdict=verdict,
            seconds=0.0125,
            bus=bus,
            len=length,
            phase="assigned",
            promises=(1, 4),
            reason="no such capability" if verdict in (Verdict.SKIP, Verdict.ERROR) else "",
            disagreements=(
                (Disagreement("write 0", 1, {"signals": 1}, {"signals": 0}),)
                if verdict is Verdict.FAIL
                else ()
            ),
        )

    return make
