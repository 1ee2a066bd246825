"""The inbox of whoever is on call, for notebook 10. `inbox.url` goes into ALERT_WEBHOOK_URL."""

import atexit

from lab_app.runner.services.inbox import Inbox

inbox = Inbox().start()
atexit.register(inbox.stop)
