"""What stops an audit before it has begun."""

from lab_app.trouble import Trouble


class AuditError(Trouble):
    """The audit cannot be made as asked; the text is one sentence that says what to do."""
