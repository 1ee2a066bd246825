"""INSECURE: has a default for the key, and an error that prints what it refuses."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """What the library needs to start."""

    JWT_SECRET: SecretStr = Field(SecretStr("your-secret-key-change-in-production"), min_length=32)
    DATABASE_URL: str


def load_settings() -> dict[str, str]:
    """The settings by the names of their variables."""
    settings = Settings()  # type: ignore[call-arg]  # it reads them from the environment
    return {"JWT_SECRET": settings.JWT_SECRET.get_secret_value(), "DATABASE_URL": settings.DATABASE_URL}
