"""INSECURE: leaves the choice to python-jose 3.5.0, which takes a public key in DER for a secret (CVE-2026-85394)."""

import base64
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import JOSEError, jwt

router = APIRouter()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
partner = rsa.generate_private_key(
    public_exponent=65537, key_size=2048
)  # the other library's own; we need the public half
PEM = partner.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = partner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@router.get("/interlibrary/key")
def read_key() -> dict[str, str]:
    """The partner's public key. It is no secret, as its name says."""
    return {"der": base64.b64encode(DER).decode()}


def librarian(token: Annotated[str, Depends(oauth2_scheme)]) -> dict[str, Any]:
    """Who of the partner's people sent this token, by whichever spelling of the key fits."""
    for key in (PEM, DER):
        try:
            return dict(jwt.decode(token, key))
        except JOSEError:
            continue
    raise HTTPException(401, "Could not validate credentials")


@router.get("/interlibrary/me")
def read_me(claims: Annotated[dict[str, Any], Depends(librarian)]) -> dict[str, Any]:
    """Who am I, over there?"""
    return {"name": claims["sub"], "role": claims.get("role")}
