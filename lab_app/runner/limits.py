"""How much time and room an answer gets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds are wall time; sizes are bytes."""

    start_seconds: float = 20
    slack_seconds: float = 15  # for the zygote itself, beyond the time that it gives an answer
    answer_seconds: float = 15
    exercise_seconds: float = 150
    jail_memory: int = 2 << 30  # ten scrypt hashes at once, of 128 MiB each, are a right answer
    jail_processes: int = 512
    jail_disk: int = 64 << 20
    body: int = 1 << 20
