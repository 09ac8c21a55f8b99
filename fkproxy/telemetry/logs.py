"""Log lines: one JSON object each on stdout, whoever logs.

Floor 2. The only file with python-json-logger.

    {"ts": "2026-11-21T10:00:00.000Z", "level": "INFO", "msg": "...", "logger": "...", "request_id": "...", ...}

Two ways in. `logging`, for what happens now and then: our own loggers, the server's, the libraries', Python's warnings. And
`AccessLog`, for the line every call leaves: msgspec writes it straight from the record in about a microsecond, where a pass
through `logging` costs over ten. Both end in one `Output`, whose thread also makes the access lines, many in a row.

No line holds what anybody said. An exception is told by its class and by where it was raised; its message stays out unless the
class is one of ours, because a library's message may quote the data it choked on.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from functools import partial
from types import TracebackType
from typing import Any, Literal

import msgspec
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

from fkproxy.model.errors import FkproxyError
from fkproxy.telemetry.entry import cleaned
from fkproxy.telemetry.output import Output
from fkproxy.telemetry.record import MAX_AGENT_CHARS, RECORD_BYTES, Attempt, CallRecord
from fkproxy.wire.times import rfc3339

__all__ = ["AccessLog", "JsonFormatter", "LinesHandler", "configure", "dropped_lines", "granian_log_config", "set_level"]

Format = Literal["json", "pretty"]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_MAX_FIELD_CHARS = 4000
_MAX_REASONING_CHARS = 40
_MAX_MODEL_CHARS = 128
_FLUSH_AT_EXIT_S = 2.0

# sd-daemon(3): "<N>" at the start of a line is its syslog priority; journald takes it off again.
_PRIORITY = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>", logging.CRITICAL: "<2>"}
_OURS, _SERVERS = "fkproxy", "_granian"
"""What our own loggers are below, and the server's, which tell its start and its end. Of other libraries warnings are the least that is
written: what they say besides tells addresses, headers, bodies, and every SQL statement with its values."""


_timestamp = partial(rfc3339, precision="milliseconds")


class _State:
    """How this process logs; set once, before it forks."""

    output: Output | None = None
    format: Format = "json"
    journal = False
    level = logging.INFO


def dropped_lines() -> int:
    """Lines lost because nobody read the output, or it could not be written."""
    return _State.output.dropped if _State.output is not None else 0


def configure(*, level: str, format: Format, journal: bool, descriptor: int = 1) -> None:  # noqa: A002 - the setting's own name
    """Send everything that logs to `descriptor`. `journal`: mark each line's priority for journald."""
    _State.output = output = Output(descriptor)
    _State.format, _State.journal, _State.level = format, journal, logging.getLevelName(level.upper())
    output.notice = lambda count: _line(logging.WARNING, _lost(count))
    handler = LinesHandler()
    handler.setFormatter(_formatter(format))
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)
    logging.captureWarnings(True)
    sys.excepthook = _crashed


def set_level(level: str) -> None:
    """The least level that is written from now on. Does nothing where nothing was configured: the log is somebody else's then."""
    if _State.output is None:
        return
    _State.level = logging.getLevelName(level.upper())
    for name in (_OURS, _SERVERS):
        logging.getLogger(name).setLevel(_State.level)
    logging.getLogger().setLevel(max(logging.WARNING, _State.level))


def granian_log_config(*, format: Format) -> dict[str, Any]:  # noqa: A002 - the setting's own name
    """`log_dictConfig` for the server: its loggers write lines of the same shape, and no access lines of their own.

    Their level is its `log_level`, which it writes over any that stands here.
    """
    return {
        "formatters": {"lines": {"()": f"{__name__}.{'JsonFormatter' if format == 'json' else 'PrettyFormatter'}"}},
        "handlers": {"lines": {"()": f"{__name__}.LinesHandler", "formatter": "lines"}},
        "loggers": {
            _SERVERS: {"handlers": ["lines"], "propagate": False},
            # A line for each client that leaves before its answer is through: the access line tells that, and whose call it was.
            f"{_SERVERS}.asgi.io": {"level": "WARNING"},
            "granian.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }


def _formatter(kind: Format) -> logging.Formatter:
    return JsonFormatter() if kind == "json" else PrettyFormatter()


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(_OURS).critical("the process ends on an error", exc_info=(kind, error, trace))


class LinesHandler(logging.Handler):
    """Hands a formatted record to the output, marked for journald where that is wanted."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        try:
            line = _line(record.levelno, self.format(record))
        except (TypeError, ValueError, KeyError, RecursionError):
            # A wrong format string in some library must not cost the line, nor the process.
            line = _line(
                record.levelno, f'{{"level":"{record.levelname}","msg":"a record could not be formatted","logger":"{record.name}"}}'
            )
        if _State.output is not None:
            _State.output.write(line)

    def flush(self) -> None:
        """Write what is queued, within a bound. `logging` asks for it at the end of a process."""
        if _State.output is not None:
            _State.output.flush(_FLUSH_AT_EXIT_S)


def _line(level: int, text: str) -> bytes:
    prefix = _PRIORITY.get(level, "<6>") if _State.journal else ""
    return f"{prefix}{text}\n".encode("utf-8", "replace")


def _lost(count: int) -> str:
    message = f"{count} log lines were lost: nobody read the output, or it could not be written"
    if _State.format == "pretty":
        return message
    return msgspec.json.encode({"ts": _timestamp(time.time()), "level": "WARNING", "msg": message}).decode()


class JsonFormatter(MsgspecFormatter):
    """A record as one JSON object; extras become fields."""

    def __init__(self) -> None:
        super().__init__(reserved_attrs=[*RESERVED_ATTRS, "color_message"])

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """See `BaseJsonFormatter.add_fields`: ours come first and in this order."""
        log_data.update(ts=_timestamp(record.created), level=record.levelname, msg=_bounded(record.getMessage()), logger=record.name)
        extras: dict[str, Any] = {}
        super().add_fields(extras, record, {})
        extras.pop("message", None)
        log_data.update((key, _bounded(value) if isinstance(value, str) else value) for key, value in extras.items() if key not in log_data)
        if record.exc_info and record.exc_info[0] is not None:
            log_data["exception"] = _told(record.exc_info)


class PrettyFormatter(logging.Formatter):
    """A record as one line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        standard = (*RESERVED_ATTRS, "color_message")
        extras = " ".join(f"{key}={value}" for key, value in record.__dict__.items() if key not in standard)
        told = f" exception={_told(record.exc_info)}" if record.exc_info and record.exc_info[0] is not None else ""
        text = f"{_timestamp(record.created)} {record.levelname:<8} {record.getMessage()} {extras}{told}".rstrip()
        return _bounded(text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text)


def _bounded(text: str) -> str:
    return text if len(text) <= _MAX_FIELD_CHARS else text[:_MAX_FIELD_CHARS] + "…"


def _told(info: ExcInfo) -> list[str]:
    """The exception and its causes as `Class at file:line function`, innermost call last; messages only of our own classes."""
    lines: list[str] = []
    error: BaseException | None = info[1]
    while error is not None and len(lines) < 40:
        own = f" ({error.code})" if isinstance(error, FkproxyError) else ""
        lines.append(type(error).__name__ + own)
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        lines += [f"  at {frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


class AccessLog:
    """Writes one line for each record."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._second = 0
        self._stamp = ""

    def write(self, record: CallRecord) -> None:
        """Queue the line of one call."""
        output = _State.output
        if output is None or _State.level > logging.INFO:
            return
        output.write_later(partial(self._line, record), RECORD_BYTES)

    def _line(self, record: CallRecord) -> bytes:
        if record.provider_key is None and record.model_requested is not None:
            # Nobody knows this name: it may be anything that was typed into the wrong field.
            record = cleaned(record)
        line = _pretty(record).encode("ascii", "replace") if _State.format == "pretty" else self._encode(self._access(record))
        return b"<6>" + line + b"\n" if _State.journal else line + b"\n"

    def close(self) -> None:
        """Write what is queued."""
        if _State.output is not None:
            _State.output.flush(_FLUSH_AT_EXIT_S)

    def _access(self, record: CallRecord) -> dict[str, Any]:
        """The line's fields; those that say nothing are left out. A dict, filled by hand: half the cost of a struct with defaults."""
        line: dict[str, Any] = {
            "ts": self._at(record.started_s),
            "level": "INFO",
            "kind": "access",
            "req_id": record.request_id,
            "method": record.method,
            "route": record.route,
            "status": record.status,
            "dur_ms": round(record.duration_ms, 3),
            "auth": record.auth,
        }
        if record.user_agent is not None:
            line["ua"] = _plain(record.user_agent, MAX_AGENT_CHARS)
        if record.key_id is not None:
            line["key_id"] = record.key_id
        if record.pool is not None:
            line["pool"] = record.pool
        if record.peer is not None:
            line["peer"] = record.peer
        if record.dialect is not None:
            line["dialect"] = record.dialect
        if record.stream:
            line["stream"] = True
        if record.model_requested is not None and record.model_requested != record.model_id:
            line["model_requested"] = _plain(record.model_requested, _MAX_MODEL_CHARS)
        if record.provider_key is not None:
            line["provider"] = record.provider_key
        if record.credential:
            line["credential"] = record.credential
        if record.model_id is not None:
            line["model"] = _plain(record.model_id, _MAX_MODEL_CHARS)
        if record.upstream_dialect is not None and record.upstream_dialect != record.dialect:
            line["upstream_dialect"] = record.upstream_dialect
        if record.upstream_status is not None:
            line["upstream_status"] = record.upstream_status
        if record.attempts:
            line["attempts"] = record.attempts
        if len(record.tries) > 1:
            line["tries"] = tuple(map(_tried, record.tries))
        if record.skipped:
            line["skipped"] = tuple(f"{each.upstream}:{each.reason}" for each in record.skipped)
        if record.notes:
            line["notes"] = tuple(_plain(note, _MAX_MODEL_CHARS) for note in record.notes)
        if record.waited_ms:
            line["waited_ms"] = round(record.waited_ms, 3)
        if record.upstream_ms:
            line["upstream_ms"] = round(record.upstream_ms, 3)
        if record.ttft_ms is not None:
            line["ttft_ms"] = round(record.ttft_ms, 3)
        if (usage := record.usage) is not None:
            if usage.input_tokens is not None:
                line["tokens_in"] = usage.input_tokens
            if usage.output_tokens is not None:
                line["tokens_out"] = usage.output_tokens
            if usage.cached_input_tokens is not None:
                line["tokens_cached"] = usage.cached_input_tokens
            if usage.reasoning_tokens is not None:
                line["tokens_reasoning"] = usage.reasoning_tokens
        if record.cost_usd is not None:
            line["cost_usd"] = round(record.cost_usd, 9)
        if record.finish_reason is not None:
            line["finish_reason"] = record.finish_reason
        if record.error_code is not None:
            line["error_code"] = record.error_code
        if record.losses:
            line["losses"] = record.losses
        if record.reasoning_requested is not None:
            line["reasoning_requested"] = _plain(record.reasoning_requested, _MAX_REASONING_CHARS)
        if record.reasoning_applied is not None:
            line["reasoning_applied"] = record.reasoning_applied
        if record.client_ended:
            line["client_ended"] = True
        if record.request_bytes:
            line["bytes_in"] = record.request_bytes
        if record.response_bytes:
            line["bytes_out"] = record.response_bytes
        return line

    def _at(self, seconds: float) -> str:
        """When the call began; the part down to the second is made once a second."""
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._stamp = _timestamp(whole)[:-4]
        return f"{self._stamp}{int((seconds - whole) * 1000):03d}Z"


def _tried(attempt: Attempt) -> str:
    """`provider/credential:outcome:status`."""
    return f"{attempt.upstream}:{attempt.outcome}{f':{attempt.status}' if attempt.status is not None else ''}"


def _plain(text: str, limit: int) -> str:
    """What a client chose, without control characters and within a bound."""
    if len(text) <= limit and text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text[:limit])


def _pretty(record: CallRecord) -> str:
    who = f" {record.provider_key}/{_plain(record.model_id or '', _MAX_MODEL_CHARS)}" if record.provider_key else ""
    error = f" {record.error_code}" if record.error_code else ""
    return (
        f"{_timestamp(record.started_s)} INFO     {record.method} {record.route} {record.status} {record.duration_ms:.1f} ms{who}{error}"
        f" req_id={record.request_id}"
    )
