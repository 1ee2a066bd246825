"""What a person has to see to."""


class Trouble(Exception):
    """Something that cannot be done; its text is one sentence or two, and says what to do instead."""
