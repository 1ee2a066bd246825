"""nbgrader's configuration for the FastAPI Security Workbook."""

import os

from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    IncludeHeaderFooter,
    LockCells,
    SaveCells,
)


class PutStartersBack(ClearSolutions):
    """Where a solution is taken out, students find the flawed code that they are to mend."""

    def preprocess_cell(self, cell, resources, cell_index):
        """Replace a solution by the starter that its cell carries along."""
        starter = cell.metadata.get("lab", {}).pop("starter", None)
        if starter is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = starter
        return cell, resources


c = get_config()  # noqa: F821 - nbgrader brings it
c.CourseDirectory.course_id = "fastapi-security-workbook"
c.GenerateAssignment.preprocessors = [
    IncludeHeaderFooter,
    LockCells,
    PutStartersBack,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
]
c.Execute.timeout = 300  # seconds a cell: an exercise's checks take longer than nbgrader's 30
os.environ["LAB_HELD_BACK"] = ""  # names of checks, with spaces between: feedback shows no more than their titles
