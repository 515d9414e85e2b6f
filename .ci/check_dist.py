"""What was built into dist/ is what a user should get: called by `make build`."""

import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

PACKAGE = "braze_segments_async"


def main() -> None:
    """Exit with what is wrong, if anything is."""
    dist = Path(__file__).parent.parent / "dist"
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = message_from_bytes(archive.read(metadata))
    info = metadata.split("/")[0]
    strays = [name for name in names if name.split("/")[0] not in {PACKAGE, info}]
    strays += [
        name for name in names if not name.startswith(info) and not name.endswith((".py", "/py.typed"))
    ]
    with tarfile.open(sdist) as source:
        inside = {name.split("/", 1)[1] for name in source.getnames() if "/" in name}
    version = (dist.parent / PACKAGE / "_version.py").read_text(encoding="utf-8").split('"')[-2]
    found = {
        f"the wheel holds more than the package: {strays}": bool(strays),
        "the wheel is not marked as typed": f"{PACKAGE}/py.typed" not in names,
        f"the version is {told['Version']}, not {version}": told["Version"] != version,
        "the README is not the description": "# braze-segments-async" not in str(told.get_payload()),
        "the sdist cannot be tested": not {"tests/conftest.py", "Makefile", "README.md", "LICENSE"} <= inside,
    }
    if wrong := [problem for problem, is_there in found.items() if is_there]:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
