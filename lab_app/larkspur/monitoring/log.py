"""INSECURE: one line of text per message, and a message may hold line ends, or anything else that a stranger sent."""

import logging
import os

logger = logging.getLogger("larkspur")
logger.setLevel(logging.INFO)
logger.propagate = False


class ToLogFile(logging.Handler):
    """Appends to the file that LOG_FILE names now."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line as it is."""
        with open(os.environ["LOG_FILE"], "a", encoding="utf-8", newline="") as file:  # noqa: PTH123
            file.write(self.format(record) + "\n")


if not logger.handlers:
    handler = ToLogFile()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
