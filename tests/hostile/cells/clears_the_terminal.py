# HOSTILE: fails with what a terminal obeys, and with every control character
# does not start, at most 0
CONTROLS = "".join(map(chr, range(0x20)))
raise RuntimeError(
    CONTROLS + "\x7f\x9b2J\x1b]0;mine\x07\x1b]8;;http://evil\x1b\\ \ufeff\u2066\u202e\ufffe]]>&#x1b;%s{0}"
)
