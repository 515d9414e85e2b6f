"""Check the contents of the wheel and the sdist in dist/; called by `make build`."""

import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

PACKAGE = "braze_segments_async"
PYTEST_PLUGIN = "pytest_braze_segments.py"


def main() -> None:
    """Exit with a list of problems, if there are any."""
    dist = Path(__file__).parent.parent / "dist"
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = message_from_bytes(archive.read(metadata))
    info = metadata.split("/")[0]
    unexpected = [name for name in names if name.split("/")[0] not in {PACKAGE, PYTEST_PLUGIN, info}]
    unexpected += [
        name for name in names if not name.startswith(info) and not name.endswith((".py", "/py.typed"))
    ]
    with tarfile.open(sdist) as source:
        files = {name.split("/", 1)[1] for name in source.getnames() if "/" in name}
    version = (dist.parent / PACKAGE / "_version.py").read_text(encoding="utf-8").split('"')[-2]
    checks = {
        f"the wheel contains files outside the package: {unexpected}": bool(unexpected),
        "the wheel has no pytest plugin": PYTEST_PLUGIN not in names,
        "the wheel is not marked as typed": f"{PACKAGE}/py.typed" not in names,
        f"the version is {fields['Version']}, not {version}": fields["Version"] != version,
        "the README is not the description": "# braze-segments-async" not in str(fields.get_payload()),
        "the sdist cannot be tested": not {"tests/conftest.py", "Makefile", "README.md", "LICENSE"} <= files,
    }
    if problems := [problem for problem, failed in checks.items() if failed]:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
