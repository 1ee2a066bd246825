"""A real nginx in front of an app of the notebook. It ends with the kernel."""

import atexit
from pathlib import Path
from typing import Any

import httpx

from lab_app.jupyter.serve import Served
from lab_app.runner.fresh import FreshSandbox
from lab_app.runner.limits import Limits
from lab_app.runner.services.certificate import Certificate
from lab_app.runner.services.nginx import Nginx

NAME = "localhost"
_sandbox = FreshSandbox(Limits())
atexit.register(_sandbox.close)


class Front:
    """Starts with a configuration, its placeholders filled. Raises AnswerTrouble if nginx refuses that.

    `get`, `post` and the like come in by https; `http` is a client of the other port.
    """

    def __init__(self, app: Served, conf: str, cert: str, key: str) -> None:
        pair = Certificate(Path(cert).read_bytes(), Path(key).read_bytes())
        self.upstream = f"127.0.0.1:{app.listener.getsockname()[1]}"
        self.nginx = Nginx(_sandbox, f"nginx{id(self)}", pair, NAME)
        self.nginx.start(conf, self.upstream)
        self.url = f"https://{NAME}:{self.nginx.https_port}"
        # Any certificate will do for this client: here it is the proxy that is looked at.
        self.https = httpx.Client(base_url=self.url, trust_env=False, verify=False)  # noqa: S501
        self.http = httpx.Client(base_url=f"http://{NAME}:{self.nginx.http_port}", trust_env=False)

    def reload(self, conf: str) -> "Front":
        """Take another configuration on. Raises AnswerTrouble if nginx refuses it; then the old one stays."""
        self.nginx.reload(conf, self.upstream)
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.https, name)

    def __repr__(self) -> str:
        return f"nginx runs at {self.url} and {self.http.base_url}"

    def _repr_html_(self) -> str:
        links = (f'<a href="{url}" target="_blank" rel="noopener">{url}</a>' for url in (self.url, self.http.base_url))
        return f"nginx runs at {' and '.join(links)} (opens in a new tab; your browser will mind the certificate)"
