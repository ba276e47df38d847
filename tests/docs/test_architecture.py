"""The drawing shows the rooms that exist, in an order without arrows up, and the walk names what is there."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET

from tests.docs.documents import ROOT, text_of

DRAWING = ROOT / "docs/architecture.svg"
ARCHITECTURE = text_of(ROOT / "docs/architecture.md")
SVG = "{http://www.w3.org/2000/svg}"
NAMES_ONLY = {"engine/benchmark"}  # a command's name, no code of its own


def drawn() -> dict[str, float]:
    """Room (or file) -> how far down it stands."""
    found = {}
    for text in ET.parse(DRAWING).getroot().iter(f"{SVG}text"):
        if text.get("class") == "room":
            for name in (text.text or "").split(", "):
                found[name] = float(text.get("y", ""))
    return found


def packages() -> set[str]:
    """The rooms: packages at the top, and those right under engine and pipelines."""
    found = {"brisk", "spaces"}
    for hall in ("engine", "pipelines"):
        found |= {f"{hall}/{path.parent.name}" for path in (ROOT / hall).glob("*/__init__.py")}
    return found


def test_the_rooms_drawn_are_those_that_exist() -> None:
    rooms = {name for name in drawn() if not name.endswith(".py")}
    assert rooms == packages() - NAMES_ONLY


def test_the_loose_files_drawn_are_those_that_exist() -> None:
    files = {name for name in drawn() if name.endswith(".py")} - {"app.py"}
    assert files == {path.name for path in (ROOT / "engine").glob("*.py")} - {"__init__.py"}


def imports() -> set[tuple[str, str]]:
    """(importing room, imported room) of every import at the top of a module, rooms as in the drawing."""
    found = set()
    for hall in ("app.py", "spaces", "brisk", "pipelines", "engine"):
        place = ROOT / hall
        for path in [place] if place.is_file() else place.rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in names:
                    found.add((room_of(path.relative_to(ROOT).as_posix()), room_of(name.replace(".", "/") + ".py")))
    return {(upper, lower) for upper, lower in found if upper and lower and upper != lower}


def room_of(path: str) -> str:
    """The room of a file or of an imported name; "" where it is none of the drawing's."""
    parts = path.removesuffix(".py").split("/")
    rooms = drawn()
    if len(parts) > 1 and "/".join(parts[:2]) in rooms:
        return "/".join(parts[:2])
    if parts[0] == "engine" and len(parts) > 1 and f"{parts[1]}.py" in rooms:
        return f"{parts[1]}.py"
    return parts[0] if parts[0] in rooms else ""


def test_no_import_points_up() -> None:
    heights = drawn()
    upwards = [f"{a} imports {b}" for a, b in imports() if heights[a] > heights[b]]
    assert not upwards


def test_the_drawing_is_described() -> None:
    root = ET.parse(DRAWING).getroot()
    assert root.findtext(f"{SVG}title") and root.findtext(f"{SVG}desc")
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("x", "")) < width and 0 < float(text.get("y", "")) < height


def test_the_walk_names_what_is_there() -> None:
    """In each row of the walk, every name in backticks stands in one of the row's files."""
    walk = ARCHITECTURE.partition("## The walk of a prompt")[2].partition("\n## ")[0]
    rows = [row for row in walk.splitlines() if row.startswith("| ") and "](" in row]
    assert len(rows) >= 18
    for row in rows:
        files = re.findall(r"\]\(\.\./([^)]+)\)", row)
        code = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`(\w+)`", row.split("|")[3]):
            assert re.search(rf"\b{name}\b", code), f"{name} is not in {' or '.join(files)}"


def test_every_name_of_ours_elsewhere_is_there() -> None:
    """Names of code in the rest of the page: `FAMILIES`, `describe`, `FOLDERS`, ..."""
    rest = re.sub(r"^\|.*$", "", ARCHITECTURE, flags=re.MULTILINE)
    ours = [ROOT / folder for folder in ("app.py", "brisk", "pipelines", "engine", "tests")]
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for place in ours
        for path in ([place] if place.is_file() else place.rglob("*.py"))
    )
    for name in set(re.findall(r"`@?([A-Za-z_]+)(?:\(\w*\))?`", rest)):
        assert re.search(rf"\b{name}\b", code), name
