"""INSECURE on purpose: section 3 of the Larkspur Library, in five editions, each of which mends the one before."""

from lab_app.larkspur.cors.forgeable import forgeable
from lab_app.larkspur.cors.layers import app as layers
from lab_app.larkspur.cors.previews import app as previews
from lab_app.larkspur.cors.profile import library
from lab_app.larkspur.cors.substring import app as substring
from lab_app.larkspur.cors.wildcard import app as wildcard

closed = library("Larkspur Library, before anybody had heard of CORS")

__all__ = ["closed", "forgeable", "layers", "previews", "substring", "wildcard"]
