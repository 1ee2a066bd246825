# HOSTILE: raises what ends whoever tries to show it
# does not start, at most 0
class Hidden(BaseException):
    def __str__(self):
        raise SystemExit(0)

    __repr__ = __str__
    __class__ = property(lambda self: 1 / 0)


raise Hidden
