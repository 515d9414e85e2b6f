"""Export many workspaces at the same time. A failed export does not affect the others.

    from braze_segments_async.workspaces import export_workspaces, read_workspaces

    for result in await export_workspaces(read_workspaces("workspaces.toml", output="exports")):
        print(result.name, result.outcome, result.rows, result.error)

A `WorkspaceConfig` names the place of its key, and never holds the key: it may be logged, pickled and sent to
another machine, as `braze_segments_async.dask` does.
"""

from braze_segments_async.export import ExportOptions

from ._config import WorkspaceConfig
from ._file import read_workspaces
from ._results import Outcome, WorkspaceResult
from ._run import export_workspace, export_workspaces

__all__ = [
    "ExportOptions",
    "Outcome",
    "WorkspaceConfig",
    "WorkspaceResult",
    "export_workspace",
    "export_workspaces",
    "read_workspaces",
]
