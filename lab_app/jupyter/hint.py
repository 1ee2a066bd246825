"""`hint("1.3")`: one hint at a time."""

from lab_app.jupyter.exercises import NoSuchExercise, exercise, hints
from lab_app.jupyter.kernel import ready
from lab_app.jupyter.view import View, judged, note

given: dict[str, list[str]] = {}


def hint(number: object) -> View:
    """The next hint: of the checks that failed last, or of all checks of the exercise in their order."""
    try:
        wanted = exercise(number).number
    except NoSuchExercise as trouble:
        return note(str(trouble))
    verdict = ready().verdicts.get(wanted)
    if verdict and verdict.outcome == "passed":
        return note(f"Exercise {wanted} is passed. There is nothing to hint at.")
    if verdict and not judged(verdict):
        return note(f"The answer to {wanted} has not come to serve yet; the last check says why. Mend that first.")
    failed = [result.hint for result in verdict.failed()] if verdict else []
    known = list(dict.fromkeys(one for one in failed or hints(wanted) if one))
    seen = given.setdefault(wanted, [])
    fresh = [one for one in known if one not in seen]
    if not fresh:
        seen.clear()
        return note(f'There are no more hints for {wanted}. hint("{wanted}") again begins anew.')
    seen.append(fresh[0])
    left = len(fresh) - 1
    return note(f"Hint: {fresh[0]} ({left or 'No'} more for {wanted}.)")
