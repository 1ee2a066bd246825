# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · HTTPS and TLS
#
# *Who is on the line, and who else?* You listen in on a login, sign a certificate for a bank, come in as somebody from
# the library's own rooms, and mend all of it.
#
# | beat | what you do |
# |---|---|
# | See | shake hands, look at a certificate |
# | Break | six attacks on the way to the flawed library |
# | Fix | exercises 2.1 to 2.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About two and a half hours. A real nginx runs along; it came with the workbook.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# A request passes through many hands before it reaches you.
#
# ```mermaid
# flowchart LR
#     B[Ada's browser] --> W[café Wi-Fi] --> I[provider] --> N[nginx] --> A[Larkspur API]
#     W -. reads and changes what is not encrypted .-> W
#     N -. says who called .-> A
# ```
#
# TLS gives three promises from the browser to whoever ends the encryption: nobody reads, nobody changes, and it is
# really *larkspur.example* on the other side. Here nginx ends it. From there on, the app knows about the caller what
# nginx tells it, and no more. This notebook is about both halves.

# %% [markdown]
# A handshake, in TLS 1.3 ([RFC 8446 §2](https://www.rfc-editor.org/rfc/rfc8446#section-2)):
#
# ```mermaid
# sequenceDiagram
#     participant C as client
#     participant S as server
#     C->>S: versions, cipher suites, a fresh key share, the name it wants (in clear)
#     S-->>C: the version and suite it chose, its own key share
#     Note over C,S: from here on everything is encrypted
#     S-->>C: certificate, and a signature that proves its key
#     C->>C: does somebody I trust vouch for this name?
#     C->>S: GET /
# ```
#
# So everything hangs on two lists, what the server agrees to and whom the client trusts.

# %% [markdown]
# The checklist's section begins with a certificate of one's own:
#
# `openssl req -x509 -newkey rsa:4096 -nodes -keyout key.pem -out cert.pem -days 365 -subj "/CN=localhost"`
#
# Not every machine has openssl, so here is the same in Python.

# %%
import datetime
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID

TODAY, PEM = datetime.datetime.now(datetime.UTC), serialization.Encoding.PEM
NEXT_YEAR = TODAY + datetime.timedelta(days=365)
IN_CLEAR = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


# %%
def plain_name(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def vouched(whose, key, issuer, issuer_key, extension):
    blank = x509.CertificateBuilder(issuer, whose, key.public_key(), x509.random_serial_number())
    dated = blank.not_valid_before(TODAY).not_valid_after(NEXT_YEAR)
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return dated.add_extension(extension, critical=False).sign(issuer_key, digest).public_bytes(PEM)


def stored(cert, key):
    folder = Path(tempfile.mkdtemp())
    (folder / "cert.pem").write_bytes(cert)
    (folder / "key.pem").write_bytes(key.private_bytes(PEM, *IN_CLEAR))
    return {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem"), "ca": None}


# %%
# INSECURE: what the checklist's command makes; it lists no name, and it may sign for every name.
def checklist_cert():
    key, localhost = rsa.generate_private_key(public_exponent=65537, key_size=2048), plain_name("localhost")
    return stored(vouched(localhost, key, localhost, key, x509.BasicConstraints(True, None)), key)


checklist = checklist_cert()

# %% [markdown]
# With it the checklist starts uvicorn. `serve` takes the same keyword arguments as `uvicorn.Config`. Once plain, once
# over TLS:

# %%
from lab_app.larkspur.https import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
secure = serve(flawed_app, "larkspur over TLS", ssl_certfile=checklist["cert"], ssl_keyfile=checklist["key"])
secure

# %% [markdown]
# Your browser will not like that link, and it is right. Shake hands by hand and see what came of it.

# %%
import socket
import ssl
from urllib.parse import urlsplit


def shake(url, context, name="localhost"):
    """The version, the suite and the certificate that a server comes up with."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as plain:
        with context.wrap_socket(plain, server_hostname=name) as line:
            return line.version(), line.cipher()[0], x509.load_der_x509_certificate(line.getpeercert(True))


trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE  # we only look; we send nothing
version, suite, certificate = shake(secure.url, trusting)
print(version, suite, certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string(), sep="\n")

# %% [markdown]
# Is that a certificate? Subject and issuer are the same: it vouches for itself. Compare it with one that a public site
# has. A client walks up from the server's certificate until it meets somebody whom it trusts already
# ([RFC 5280 §6](https://www.rfc-editor.org/rfc/rfc5280#section-6)).

# %%
import matplotlib.pyplot as plt

chains = {
    "a public site": [
        ("www.library.example\nnames: www.library.example\nmay sign: no", "#cfe8cf"),
        ("Intermediate CA\nmay sign: yes", "#d8e2f3"),
        ("Root CA\nmay sign: yes\nknown to your browser", "#b8c9e8"),
    ],
    "the checklist's": [("localhost\nnames: none\nmay sign: yes, for anybody", "#f3c9c9")],
}


def box(axis, left, height, text, colour):
    style = {"boxstyle": "round,pad=0.6", "facecolor": colour}
    axis.text(left, height, text, ha="center", va="center", fontsize=9, bbox=style)


# %%
figure, axis = plt.subplots(figsize=(8, 4))
for left, (title, chain) in enumerate(chains.items()):
    axis.text(left, -0.75, title, ha="center", weight="bold")
    for height, (text, colour) in enumerate(chain):
        box(axis, left, height, text, colour)
        arrow = {"arrowstyle": "->", "shrinkB": 2}
        if height:
            axis.annotate("", (left, height - 0.67), (left, height - 0.33), arrowprops=arrow)
            axis.text(left + 0.03, height - 0.49, "signed", va="center", fontsize=8)
curl = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-1.6"}
axis.annotate("", (1.36, -0.15), (1.36, 0.15), arrowprops=curl)
axis.text(1.48, 0, "signed\nitself", va="center", fontsize=8)
axis.set(xlim=(-0.5, 1.7), ylim=(-0.95, 2.5))
axis.set_axis_off()

# %% [markdown]
# ## Break
#
# ### 1 · Read a password
#
# Mallory runs the café's Wi-Fi. `Tap` is her machine: a wire between a client and a server that keeps what passes. Ada
# logs in (CWE-319, ASVS 5.0 12.2.1). As always, attacks are functions that return what they got, or None.

# %%
from contextlib import suppress

import httpx

from lab_app.jupyter.services.tap import Tap

SECRET = "seven purple geese on a pond"


def overhear(target):
    """Attack 1: Ada's password, read off the wire."""
    with Tap(target.url) as wire, target.browser(wire.url) as ada:
        ada.post("/token", data={"username": "ada", "password": SECRET})
    passed = bytes(wire.seen).replace(b"+", b" ")
    return SECRET if SECRET.encode() in passed else None


overhear(larkspur)

# %% [markdown]
# What else goes by? Ada asks twice for a loan, by http and by https, and we look for each part of it on the wire.

# %%
parts = {
    "the server's address": b"",
    "its name": b"localhost",
    "path and query": b"isbn=0441",
    "cookie": b"session=8f2a",
    "password": b"geese",
    "what comes back": b"access_token",
}


def passing_by(url, client):
    with Tap(url) as wire, client(wire.url.replace("127.0.0.1", "localhost")) as ada:
        ada.post("/token?isbn=0441", headers={"Cookie": "session=8f2a"}, data={"username": "ada", "password": SECRET})
    return [part in bytes(wire.seen) for part in parts.values()]


# %%
# Behind nginx the wire is plain again, so nginx sees what one sees on a plain wire.
hands = {"the café, by http": larkspur, "the café, by https": secure, "nginx, by https": larkspur}
seen = [passing_by(target.url, target.browser) for target in hands.values()]
figure, axis = plt.subplots(figsize=(7, 3.4))
axis.imshow([list(row) for row in zip(*seen, strict=True)], cmap="RdYlGn_r", alpha=0.6, aspect="auto", vmin=0, vmax=1)
for column, row in ((c, r) for c in range(len(hands)) for r in range(len(parts))):
    axis.text(column, row, "sees" if seen[column][row] else "·", ha="center", va="center")
axis.set(xticks=range(len(hands)), xticklabels=hands, yticks=range(len(parts)), yticklabels=parts)
axis.set_title("Who sees what on the way")
axis.tick_params(length=0)
figure.tight_layout()

# %% [markdown]
# TLS hides the letter, not the envelope: the address and, in the first message, the name stay readable. And whoever
# ends the encryption sees everything. That is why nginx's configuration is part of your app.
#
# ### 2 · Ask for something weaker
#
# The server above chose well because we offered well. Mallory offers less. Python's own defaults still have suites in
# CBC mode ([RFC 9325 §4.2](https://www.rfc-editor.org/rfc/rfc9325#section-4.2), CWE-757, ASVS 5.0 12.1.2), and many
# copy a longer list from somewhere, so that the oldest client may come in.


# %%
def weaken(target):
    """Attack 2: a weak suite that the target agrees to."""
    for suites in ("kRSA", "ECDHE:!AESGCM:!CHACHA20:!AESCCM:!ARIAGCM"):
        offer = ssl.create_default_context()
        offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE
        offer.maximum_version = ssl.TLSVersion.TLSv1_2
        offer.set_ciphers(f"{suites}:@SECLEVEL=0")
        with suppress(OSError):
            return shake(target.url, offer)[1]
    return None


weaken(secure)

# %% [markdown]
# ### 3 · Sign for a bank
#
# To work with the checklist's certificate, Ada tells her machine to trust it. It says "may sign: yes". So whoever gets
# at `key.pem`, which anybody on this machine may read, signs for every name there is, and Ada's machine believes it
# (CWE-295, CWE-732, [RFC 5280 §4.2.1.9](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.9)).


# %%
def forged(made, name):
    """A certificate for a name, signed with the server's key."""
    signer = x509.load_pem_x509_certificate(Path(made["cert"]).read_bytes())
    key = serialization.load_pem_private_key(Path(made["key"]).read_bytes(), None)
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    cert = vouched(plain_name(name), own, signer.subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]))
    return stored(cert + signer.public_bytes(PEM), own)


# %%
def be_the_bank(made):
    """Attack 3: what a client that trusts a development certificate takes for its bank."""
    pair = forged(made, "bank.example")
    impostor = serve(flawed_app, "impostor", ssl_certfile=pair["cert"], ssl_keyfile=pair["key"])
    careful = ssl.create_default_context(cafile=made["ca"] or made["cert"])
    with suppress(ssl.SSLError):
        return shake(impostor.url, careful, "bank.example")[2].subject.rfc4514_string()
    return None


be_the_bank(checklist)

# %% [markdown]
# ### 4 · Make a browser forget
#
# `Strict-Transport-Security` tells a browser to come by https and nothing else from now on
# ([RFC 6797](https://www.rfc-editor.org/rfc/rfc6797#section-7.1), ASVS 5.0 3.4.1). Until it has seen the header,
# Mallory can keep it on http. Larkspur adds it in a middleware, and an unexpected error goes around all of those.


# %%
def forget(target):
    """Attack 4: the paths that an honest visitor can ask for without being told to come by https."""
    bare = [path for path in ("/", "/missing", "/boom") if "strict-transport-security" not in target.get(path).headers]
    return bare or None


forget(secure)

# %% [markdown]
# ### 5 · Sit in the library
#
# Now a proxy. This is the nginx configuration that checklists show.

# %%
from lab_app.jupyter.services.nginx import Front
from lab_app.larkspur.https import careless_conf

print(careless_conf)
front = Front(larkspur, careless_conf, checklist["cert"], checklist["key"])
front

# %% [markdown]
# The staff room opens for callers from 10.0.0.\*. The app asks nginx who called, by `X-Forwarded-For`, and takes the
# first address. nginx *appends* the address it knows to whatever the client sent (CWE-348, ASVS 5.0 4.1.3).
#
# ```mermaid
# sequenceDiagram
#     participant M as Mallory, 198.51.100.7
#     participant N as nginx
#     participant A as Larkspur
#     M->>N: X-Forwarded-For: 10.0.0.1
#     N->>A: X-Forwarded-For: 10.0.0.1, 198.51.100.7
#     A->>A: the first one is the client
#     A-->>M: the staff room is open
# ```


# %%
def sit_in_the_library(target):
    """Attack 5: the address that we made up, if the app takes it for ours."""
    lie = {"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "Forwarded": "for=10.0.0.1"}
    answer = target.get("/whoami", headers=lie)
    return answer.json()["client"] if answer.status_code == 200 and "10.0.0.1" in answer.text else None


print(sit_in_the_library(front))
front.get("/staff-room", headers={"X-Forwarded-For": "10.0.0.1"}).json()

# %% [markdown]
# ### 6 · Send visitors elsewhere
#
# Port 80 redirects to https, to `$host`, which is what the client wrote. In front of it stands a cache, and the cache
# remembers (CWE-601, ASVS 5.0 3.7.2).


# %%
def lure(target):
    """Attack 6: where visitors are sent."""
    with suppress(httpx.TransportError):
        to = target.http.get("/", headers={"Host": "larkspur.evil.example"}).headers.get("location", "")
        return to if "evil" in to else None
    return None


lure(front)

# %% [markdown]
# Six ways in, and not one of them goes through the API's own code. Shut them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables or in arguments; read it from there, and never write it into the code. A crash (5xx) is never a fix.

# %%
import os

os.environ.update(TRUSTED_PROXIES="10.0.0.0/8")

# %% [markdown]
# ### Exercise 2.1 · A development certificate
#
# `make_cert(directory: str) -> {"cert": path, "key": path, "ca": path | None}`.
#
# - SAN has DNS `localhost` and IP `127.0.0.1`; verifies without falling back to the common name.
# - The leaf is no CA when a CA is returned.
# - RSA ≥ 2048, P-256 or Ed25519. The leaf lives ≤ 398 days.
# - Every file that holds a private key, the CA's too, has mode 0600.
# - Two calls give different keys, in one process and for one directory too.

# %% [markdown]
# All files are PEM, without a password. `directory` exists; write into it and leave nothing elsewhere. `ca` is None
# when the certificate signs itself. Machines stand in Tokyo and in New York. Any library will do, or the openssl
# command.

# %% exercise="2.1" role="starter"
# Exercise 2.1 — A development certificate (INSECURE: this is the code to mend)
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def make_cert(directory: str) -> dict:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now()
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert_path, key_path = Path(directory, "cert.pem"), Path(directory, "key.pem")
    cert_path.write_bytes(cert.public_bytes(pem))
    key_path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return {"cert": str(cert_path), "key": str(key_path), "ca": None}


# %% exercise="2.1" role="solution"
# Exercise 2.1 — A development certificate
import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
NAMES = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(named(issuer), named(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.unlink(missing_ok=True)
    # Private from its first moment: a chmod after the fact leaves a gap.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)


def make_cert(directory: str) -> dict:
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = "Larkspur development CA"
    ca = certificate(issuer, issuer, ca_key, ca=True).sign(ca_key, hashes.SHA256())
    leaf = (
        certificate("localhost", issuer, key, ca=False)
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    folder = Path(directory)
    write_key(folder / "ca-key.pem", ca_key)
    write_key(folder / "key.pem", key)
    (folder / "ca.pem").write_bytes(ca.public_bytes(PEM))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(PEM))
    return {name: str(folder / f"{name}.pem") for name in ("cert", "key", "ca")}


# %%
check("2.1")

# %% [markdown]
# Stuck? `hint("2.1")` gives one hint at a time, for what failed.
#
# ### Exercise 2.2 · Serve it
#
# `tls_settings(cert: str, key: str) -> dict`: keyword arguments for `uvicorn.Config`; and `app` with `GET /` and
# `GET /missing` 404, `GET /boom` 500. Probed with real handshakes:
#
# - 1.0/1.1, CBC and static-RSA refused; 1.2 ECDHE-GCM and 1.3 accepted. The certificate has an RSA key, since static
#   RSA shows only there.
# - Plain HTTP on the port gets no 200.
# - `Strict-Transport-Security` ≥ 31536000 on 200, 404 and 500 over https, absent over http. Nobody stands in front, so
#   it is the connection that says which, and not a client's `X-Forwarded-Proto`, `Forwarded` or their like.

# %% [markdown]
# `/boom` raises; the 500 is what becomes of that. `app` is any ASGI application. It is served once with your settings
# and once without, as plain http.

# %% exercise="2.2" role="starter"
# Exercise 2.2 — Serve it (INSECURE: this is the code to mend)
from fastapi import FastAPI

app = FastAPI()


def tls_settings(cert: str, key: str) -> dict:
    return {"ssl_certfile": cert, "ssl_keyfile": key, "ssl_ciphers": "HIGH:!aNULL:!MD5"}


@app.middleware("http")
async def ask_for_https(request, call_next):
    response = await call_next(request)
    response.headers["Strict-Transport-Security"] = "max-age=300"
    return response


@app.get("/")
def home():
    return {"library": "Larkspur"}


@app.get("/boom")
def boom():
    raise RuntimeError("a shelf fell over")


# %% exercise="2.2" role="solution"
# Exercise 2.2 — Serve it
from fastapi import FastAPI

api = FastAPI()
A_YEAR = 365 * 24 * 60 * 60


def tls_settings(cert: str, key: str) -> dict:
    # Up to TLS 1.2 these suites and no others; those of 1.3 are all good. 1.0 and 1.1 are off by default.
    return {"ssl_certfile": cert, "ssl_keyfile": key, "ssl_ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20"}


@api.get("/")
def home() -> dict:
    return {"library": "Larkspur"}


@api.get("/boom")
def boom() -> None:
    raise RuntimeError("a shelf fell over")


class AskForHTTPS:
    """Around the whole app: a 500 is written outside of every middleware that FastAPI adds."""

    def __init__(self, app) -> None:
        self.app = app
        self.header = (b"strict-transport-security", f"max-age={A_YEAR}; includeSubDomains".encode())

    async def __call__(self, scope, receive, send) -> None:
        async def asking(message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), self.header]}
            await send(message)

        await self.app(scope, receive, asking if scope.get("scheme") == "https" else send)


app = AskForHTTPS(api)


# %%
check("2.2")

# %% [markdown]
# ### Exercise 2.3 · nginx in front
#
# `nginx_conf: str`, a whole configuration (`events`, `http`) without `daemon`, `pid`, `user` and `error_log`, which the
# runner sets. The placeholders `{http_port} {https_port} {upstream} {cert} {key} {server_name}` are replaced literally
# (no `str.format`); `{upstream}` is `host:port`. It is run in a real nginx, on 127.0.0.1, in front of an app that
# believes the first address it is told.

# %% [markdown]
# What must hold:
#
# - Client-sent `X-Forwarded-*`, `Forwarded`, `X-Real-IP` never reach the app as truth.
# - Unknown Host → 4xx or closed.
# - Port 80 never proxies (301/308 to the literal name, 4xx for `/api/`).
# - TLS 1.2+ only.
# - HSTS `always`, to every method, also on 404, 413 and 502 and in locations with their own `add_header`.
# - Bodies over 1 MB → 413.
# - No version banner.
#
# "Port 80" is `{http_port}`. All else goes to the app as it came: any path, method, body and header. The configuration
# stands alone: of other files it finds `mime.types` only.

# %% exercise="2.3" role="starter"
# Exercise 2.3 — nginx in front (INSECURE: this is the code to mend)
nginx_conf = """
events {}
http {
    server {
        listen {http_port};
        return 301 https://$host$request_uri;
    }
    server {
        listen {https_port} ssl;
        server_name {server_name};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        client_max_body_size 100m;
        add_header Strict-Transport-Security "max-age=31536000";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        location / {
            proxy_pass http://{upstream};
        }
        location /static/ {
            add_header Cache-Control "public, max-age=3600";
            proxy_pass http://{upstream};
        }
    }
}
"""


# %% exercise="2.3" role="solution"
# Exercise 2.3 — nginx in front
nginx_conf = """
events {}
http {
    server_tokens off;
    client_max_body_size 1m;
    ssl_protocols TLSv1.2 TLSv1.3;

    # Whoever asks for another name, or for none, gets nothing.
    server {
        listen {http_port} default_server;
        listen {https_port} ssl default_server;
        ssl_reject_handshake on;
        return 444;
    }

    server {
        listen {http_port};
        server_name {server_name};
        location / {
            return 301 https://{server_name}$request_uri;
        }
        location /api/ {
            return 403;
        }
    }

    server {
        listen {https_port} ssl;
        server_name {server_name};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;

        # The first hop writes these anew; what a client sent under these names ends here.
        proxy_set_header Host {server_name};
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host {server_name};
        proxy_set_header X-Forwarded-Port "";
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header Forwarded "";

        location / {
            proxy_pass http://{upstream};
        }
        location /static/ {
            # A location with an add_header of its own inherits none.
            add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
            add_header Cache-Control "public, max-age=3600";
            proxy_pass http://{upstream};
        }
    }
}
"""


# %%
check("2.3")

# %% [markdown]
# ### Exercise 2.4 · Whose address is it?
#
# `GET /whoami` → `{"client", "scheme"}`; env `TRUSTED_PROXIES` (addresses and CIDRs, comma separated; empty: nobody).
#
# - Direct client with forged headers → its own address.
# - Through trusted proxies → the right-most untrusted hop.
# - Scheme only from a trusted proxy.
# - Garbage in the header is never echoed as an address, zone ids (`fe80::1%…`) included.
#
# Trusted proxies write `X-Forwarded-For`, in one line or several, and `X-Forwarded-Proto`; other headers they hand on
# as the client wrote them. uvicorn's own `proxy_headers` is off. All hops trusted, ports in the header, several
# protocols: not judged.

# %% exercise="2.4" role="starter"
# Exercise 2.4 — Whose address is it? (INSECURE: this is the code to mend)
from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/whoami")
def whoami(request: Request):
    forwarded = request.headers.get("x-forwarded-for") or request.headers.get("x-real-ip")
    client = forwarded.split(",")[0].strip() if forwarded else request.client.host
    return {"client": client, "scheme": request.headers.get("x-forwarded-proto", request.url.scheme)}


# %% exercise="2.4" role="solution"
# Exercise 2.4 — Whose address is it?
import os
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from fastapi import FastAPI, Request

app = FastAPI()
Address = IPv4Address | IPv6Address
TRUSTED = [ip_network(part.strip()) for part in os.environ["TRUSTED_PROXIES"].split(",") if part.strip()]


def parsed(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def is_ours(address: Address | None) -> bool:
    return address is not None and any(address in network for network in TRUSTED)


def client_of(request: Request) -> tuple[str, str]:
    peer, scheme = parsed(request.client.host), request.url.scheme
    if not is_ours(peer):
        return request.client.host, scheme
    if request.headers.get("x-forwarded-proto") in ("http", "https"):
        scheme = request.headers["x-forwarded-proto"]
    # A proxy may append a line of its own: all lines are one list, and each hop vouches for the one before it.
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    client = peer
    for hop in map(parsed, reversed(hops)):
        if hop is None:
            break
        client = hop
        if not is_ours(hop):
            break
    return str(client), scheme


@app.get("/whoami")
def whoami(request: Request) -> dict:
    client, scheme = client_of(request)
    return {"client": client, "scheme": scheme}


# %%
check("2.4")

# %% [markdown]
# ## Prove
#
# The same six attacks, on Larkspur and on yours. Your certificate and your settings serve your app. Then nginx reads
# your configuration: a *reload* keeps its ports and ends nobody's request. At last your own `/whoami`, asked directly.
# Run this after any change.

# %%
made = make_cert(tempfile.mkdtemp())
mine = serve("2.2", "yours", **tls_settings(made["cert"], made["key"]))
rounds = [
    (overhear, larkspur, mine),
    (weaken, secure, mine),
    (be_the_bank, checklist, made),
    (forget, secure, mine),
    (sit_in_the_library, front, front),
    (lure, front, front),
    (sit_in_the_library, larkspur, serve("2.4", "whoami")),
]


# %%
def outcome(attack, target):
    return "got in" if attack(target) else "blocked"


front.reload(careless_conf)
before = [outcome(attack, flawed) for attack, flawed, _ in rounds]
front.reload(nginx_conf)
print(f"{'attack':22}{'on Larkspur':14}on yours")
for (attack, _, yours), was in zip(rounds, before, strict=True):
    print(f"{attack.__name__:22}{was:14}{outcome(attack, yours)}")

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Nothing outside this machine can be reached by plain HTTP, but for the redirect (ASVS 5.0 12.2.1).
# - [ ] The API is not redirected from http: it is refused there (ASVS 5.0 4.1.2).
# - [ ] TLS 1.2 and 1.3, nothing older (RFC 9325 §3.1.1, ASVS 5.0 12.1.1), and suites with ECDHE and AES-GCM or
#   ChaCha20 only (RFC 9325 §4.1, §4.2).
# - [ ] Certificates renew themselves, and somebody is told when they do not.

# %% [markdown]
# - [ ] Development certificates name `localhost` and are no CA; nobody's client runs with `verify=False`
#   (ASVS 5.0 12.3.2, 12.3.4).
# - [ ] Private keys are readable for the server and nobody else (CWE-732, ASVS 5.0 13.3.2).
# - [ ] `Strict-Transport-Security` for a year on every answer, errors too, and over https only (RFC 6797 §7.1, §7.2;
#   ASVS 5.0 3.4.1).

# %% [markdown]
# - [ ] The outermost proxy *sets* every `X-Forwarded-*`, `X-Real-IP` and `Forwarded`; inner ones append (ASVS 5.0
#   4.1.3).
# - [ ] The app trusts these headers from listed addresses only: `--forwarded-allow-ips`, never `*` (CWE-348).
# - [ ] A default server refuses unknown names; redirects name the site, not `$host` (CWE-601).
# - [ ] Bodies are limited at the proxy (API4:2023), and no version is named (ASVS 5.0 13.4.6).
# - [ ] Every nginx `location` with an `add_header` or a `proxy_set_header` of its own repeats the others
#   ([nginx](https://nginx.org/en/docs/http/ngx_http_headers_module.html#add_header)).

# %%
progress()
