"""Torch's exporter, interrupted."""

from __future__ import annotations

import signal

import pytest
import torch

from crosstune_export.builder.exporters.torch_export import export

#: What was exported to its end though signals came.
survived: list[tuple[int, ...]] = []


class Interrupted(torch.nn.Module):
    """Signals come while this is exported."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for number in self.numbers:
            signal.raise_signal(number)
        survived.append(self.numbers)
        return values + 1


class StoppedError(Exception):
    """An exception of a custom signal handler."""


@pytest.fixture
def handlers():
    """Signals of a program that tells them apart."""

    def stop(number, frame):
        raise StoppedError(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield lambda **changed: [signal.signal(signal.Signals[name], handler or stop) for name, handler in changed.items()]
    for number, handler in before.items():
        signal.signal(number, handler)


def export_one(module):
    return export(module, (torch.ones(2),), ["values"], ["sum"], ({0: torch.export.Dim("n")},))


@pytest.mark.fault("E1")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_the_end_of_the_export(times, capsys):
    """Inside, torch would make another graph of it, or abort the process where C++ may not throw."""
    before = signal.getsignal(signal.SIGINT)
    module = Interrupted(*[signal.SIGINT] * times)
    survived.clear()
    with pytest.raises(KeyboardInterrupt):
        export_one(module)
    assert survived
    assert signal.getsignal(signal.SIGINT) is before
    assert "Traceback" not in capsys.readouterr().err


def test_each_signal_comes_to_its_own_handler(handlers):
    handlers(SIGINT=signal.SIG_IGN, SIGTERM=None, SIGHUP=None)
    for numbers in (
        (signal.SIGTERM,),
        (signal.SIGHUP,),
        (signal.SIGTERM, signal.SIGHUP),
        (signal.SIGINT, signal.SIGTERM),
    ):
        with pytest.raises(StoppedError) as caught:
            export_one(Interrupted(*numbers))
        assert caught.value.args == (numbers[-1],)


def test_a_signal_that_is_ignored_stays_so(handlers):
    handlers(SIGINT=signal.SIG_IGN)
    export_one(Interrupted(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
