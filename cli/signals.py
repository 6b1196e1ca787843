"""Signals of a command: SIGINT, SIGTERM and SIGHUP all raise KeyboardInterrupt, so that libraries clean up."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

#: Signals that end a command: the exit code, and the word for the error line.
STOP_SIGNALS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "terminated"),
    signal.SIGHUP: (129, "hung up"),
    signal.SIGXCPU: (7, "stopped after --max-seconds"),
}
#: Delay before an interrupt is raised again that Python dropped (see ``unraisable``); chosen by hand, too short to notice.
_RETRY_S = 0.02


class Interrupts:
    """Turns signals into KeyboardInterrupt and remembers which signal it was."""

    def __init__(self, debug: bool) -> None:
        self._number, self._debug = signal.SIGINT, debug

    @property
    def exit_code(self) -> int:
        """Exit code of the last signal."""
        return STOP_SIGNALS[self._number][0]

    @property
    def word(self) -> str:
        """Word for the last signal, for the error line."""
        return STOP_SIGNALS[self._number][1]

    def listen(self) -> None:
        """Handle the signals, except for a hangup that ``nohup`` ignores."""
        signal.signal(signal.SIGTERM, self._raise_interrupt)
        signal.signal(signal.SIGXCPU, self._raise_interrupt)
        signal.signal(signal.SIGALRM, self._raise_again)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._raise_interrupt)

    def ignore(self) -> None:
        """Ignore further signals: the exit code is decided."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*STOP_SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    def unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise an interrupt again that Python would drop, such as one inside a ``__del__``.

        Other dropped exceptions, such as those of partly constructed objects, are printed with ``--debug``.
        """
        if is_interrupt(unraisable.exc_value):
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)
        elif self._debug:
            sys.__unraisablehook__(unraisable)

    def _raise_again(self, number: int, frame: FrameType | None) -> None:
        del number
        self._raise_interrupt(self._number, frame)

    def _raise_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._number = signal.Signals(number)
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:  # SIGINT is ignored, as in background jobs of a shell script
            raise KeyboardInterrupt


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an interrupt caused an error: libraries wrap it in other errors, or fail again while they clean up."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | typer.Abort) or any(
            map(is_interrupt, getattr(error, "exceptions", ()))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
