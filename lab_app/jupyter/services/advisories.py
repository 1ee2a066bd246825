"""The advisory service of notebook 9: `url` is its query, `app` the service itself, `fails` puts it into trouble."""

import atexit

from lab_app.runner.services.advisories import Advisories, frozen

_service = Advisories(frozen()).start()
atexit.register(_service.stop)
url, app, fails, records = _service.url, _service.app, _service.fails, _service.records
