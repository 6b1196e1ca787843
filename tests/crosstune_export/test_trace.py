"""Torch's exporter, interrupted."""

from __future__ import annotations

import signal

import pytest
import torch

from crosstune_export.build.trace import export


class Swallows(torch.nn.Module):
    """An interrupt comes while this is exported, and whoever called makes something else of it."""

    def __init__(self, number: int, becomes: type[Exception] | None) -> None:
        super().__init__()
        self.number, self.becomes = number, becomes

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        try:
            signal.raise_signal(self.number)
        except KeyboardInterrupt:
            if self.becomes is not None:
                raise self.becomes from None
        return values + 1


@pytest.mark.fault("E1")
@pytest.mark.parametrize("becomes", [None, TypeError])
def test_an_interrupt_that_torch_swallows_still_ends_the_export(becomes, capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        export(Swallows(signal.SIGINT, becomes), (torch.ones(2),), ["values"], ["sum"], ({0: torch.export.Dim("n")},))
    assert signal.getsignal(signal.SIGINT) is before
    assert "Traceback" not in capsys.readouterr().err
