"""INSECURE: stores names with a bound parameter, as it should, and pastes them into the SQL of a report later."""

import os
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Body, Depends, HTTPException
from fastapi.security import OAuth2PasswordBearer

from lab_app.larkspur.database import change, rows

router = APIRouter()
TABLE = "CREATE TABLE IF NOT EXISTS shown_names (member_id BIGINT PRIMARY KEY, display_name TEXT NOT NULL)"


def current_member(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="login"))]) -> dict[str, Any]:
    """The member whom the token names."""
    try:
        key, audience, issuer = (os.environ[name] for name in ("JWT_SECRET", "JWT_AUDIENCE", "JWT_ISSUER"))
        claims = jwt.decode(token, key, algorithms=["HS256"], audience=audience, issuer=issuer)
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Could not validate credentials") from error
    change(TABLE)
    return rows("SELECT id, role FROM members WHERE username = :name", name=claims["sub"])[0]


Member = Annotated[dict[str, Any], Depends(current_member)]


@router.put("/members/me")
def set_display_name(display_name: Annotated[str, Body(embed=True)], member: Member) -> dict[str, str]:
    """Choose how the library calls you."""
    upsert = "INSERT INTO shown_names VALUES (:id, :name) ON CONFLICT (member_id) DO UPDATE SET display_name = :name"
    change(upsert, id=member["id"], name=display_name)
    return {"display_name": display_name}


@router.get("/reports/loans-by-name")
def loans_by_name(member: Member) -> list[dict[str, Any]]:
    """Who reads how much, for the staff."""
    if member["role"] != "staff":
        raise HTTPException(403, "Staff only")
    report = []
    for row in rows("SELECT display_name FROM shown_names"):
        where = f"display_name = '{row['display_name']}'"
        count = "SELECT display_name, count(*) AS loans FROM shown_names JOIN loans USING (member_id)"
        report += rows(f"{count} WHERE {where} GROUP BY display_name")
    return report
