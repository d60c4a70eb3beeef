"""Build a bundled image set from open icon sets: `python -m dit_core.data.build emoji`, or `emoji64`.

Needed only to build the files again. Requires `npm` on the path and the packages in `requirements-build.txt` in this
folder. Every step is deterministic: the same package versions give the same file.
"""

import argparse
import concurrent.futures
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

ASSETS = Path(__file__).parent / "assets"
ICON_SETS = {  # npm package -> version; all licences are permissive, share-alike sets are excluded
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/emojione": "1.2.3",
    "@iconify-json/fxemoji": "1.2.2",
}
UNICODE_DATA = ("emojibase-data", "17.0.0")
HELD_OUT = 0.1

# Unicode subgroup -> class. Images of each of the 18 classes look alike at 32 pixels.
CLASS_OF_SUBGROUP = {
    **dict.fromkeys(["face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical"], "smiley"),
    **dict.fromkeys(["face-sleepy", "face-unwell", "face-hat", "face-glasses", "face-concerned"], "smiley"),
    **dict.fromkeys(["face-negative", "face-costume"], "smiley"),
    "heart": "heart",
    **dict.fromkeys(["hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed"], "hand"),
    **dict.fromkeys(["hands", "hand-prop", "body-parts"], "hand"),
    **dict.fromkeys(["person", "person-role", "person-fantasy", "family"], "portrait"),
    "person-gesture": "gesture",
    **dict.fromkeys(["person-activity", "person-sport", "person-resting"], "activity"),
    **dict.fromkeys(["cat-face", "monkey-face", "animal-mammal", "animal-bird", "animal-amphibian"], "animal"),
    **dict.fromkeys(["animal-reptile", "animal-marine", "animal-bug"], "animal"),
    **dict.fromkeys(["plant-flower", "plant-other"], "plant"),
    **dict.fromkeys(
        ["food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-marine", "food-sweet", "drink"], "food"
    ),
    **dict.fromkeys(["place-geographic", "place-building", "place-religious", "place-other"], "building"),
    **dict.fromkeys(["transport-ground", "transport-water", "transport-air"], "vehicle"),
    "time": "clock",
    "sky-weather": "weather",
    **dict.fromkeys(["event", "award-medal", "sport", "game", "arts-crafts", "musical-instrument"], "leisure"),
    "clothing": "clothing",
    **dict.fromkeys(["flag", "country-flag", "subdivision-flag"], "flag"),
    **dict.fromkeys(
        ["dishware", "place-map", "hotel", "sound", "phone", "computer", "light-video", "book-paper", "money"], "object"
    ),
    **dict.fromkeys(
        ["mail", "writing", "office", "lock", "tool", "science", "medical", "household", "other-object"], "object"
    ),
    **dict.fromkeys(
        ["emotion", "person-symbol", "music", "transport-sign", "warning", "arrow", "religion", "zodiac"], "symbol"
    ),
    **dict.fromkeys(["av-symbol", "gender", "math", "punctuation", "currency", "other-symbol", "keycap"], "symbol"),
    **dict.fromkeys(["alphanum", "geometric"], "symbol"),
}
CLASS_OF_CATEGORY = {"Flags": "flag", "Food": "food", "Food & Drink": "food"}  # for names that match no emoji

SKIN_TONE = re.compile(r"-?(medium-light|medium-dark|light|medium|dark)(-skin-tone)?$|-tone-?[1-5]$|-skin-tone")


@dataclass(frozen=True)
class Drawing:
    """How the icons of an image set are drawn.

    With `least_psnr`, each image has the fewest colours of COLOURS that differ by at least so many dB from the drawing:
    near-lossless, and half as large. `icons_of` names the image set whose icons are drawn; None draws all.
    """

    side: int  # pixels
    least_psnr: float | None = None
    icons_of: str | None = None


DRAWINGS = {"emoji": Drawing(32), "emoji64": Drawing(64, least_psnr=44.0, icons_of="emoji")}
COLOURS = (16, 32, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Icon:
    """A drawing of an emoji. `emoji` is the same for all vendors and skin tones, so that they are in the same split."""

    source: str
    name: str
    label: str
    emoji: str
    svg: str


def main() -> None:
    """Run `python -m dit_core.data.build`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=DRAWINGS, help="image set to build")
    parser.add_argument("--out", type=Path, help="file to write (default: the bundled file)")
    arguments = parser.parse_args()
    drawing, out = DRAWINGS[arguments.name], arguments.out or ASSETS / f"{arguments.name}.parquet"
    with tempfile.TemporaryDirectory() as folder:
        packages = {name: npm_pack(name, version, Path(folder)) for name, version in [*ICON_SETS.items(), UNICODE_DATA]}
        vocabulary = Vocabulary(packages[UNICODE_DATA[0]])
        icons = [icon for name in ICON_SETS for icon in read_icons(packages[name], vocabulary)]
    print(f"{len(icons)} icons with a class, {vocabulary.unmatched} without")
    if drawing.icons_of:
        icons = only(icons, ASSETS / f"{drawing.icons_of}.parquet")
    images = render(icons, drawing)
    rows = distinct(icons, images)
    write(rows, out)
    print(f"{len(rows)} distinct images of {len(icons)} ({sum(i is None for i in images)} could not be drawn)")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")


def npm_pack(name: str, version: str, folder: Path) -> Path:
    """Download and unpack an npm package. Return the folder with its files."""
    process = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--silent"], cwd=folder, check=True, capture_output=True, text=True
    )
    target = folder / name.replace("/", "+")
    with tarfile.open(folder / process.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


class Vocabulary:
    """Finds the emoji and the class for a code point sequence or a name, from Unicode's groups (emojibase)."""

    def __init__(self, package: Path) -> None:
        self.unmatched = 0
        self._subgroups = json.loads((package / "meta" / "groups.json").read_text())["subgroups"]
        self._by_code: dict[str, dict] = {}
        self._by_name: dict[str, dict] = {}
        entries = json.loads((package / "en" / "data.json").read_text())
        for entry in entries:
            for form in (entry, *entry.get("skins", ())):
                self._by_code[_bare_code(form["hexcode"])] = entry
            self._by_name.setdefault(_bare_name(entry["label"]), entry)
        for file in sorted((package / "en" / "shortcodes").glob("*.json")):
            for code, names in json.loads(file.read_text()).items():
                for name in [names] if isinstance(names, str) else names:
                    if _bare_code(code) in self._by_code:
                        self._by_name.setdefault(_bare_name(name), self._by_code[_bare_code(code)])

    def classify(self, code: str | None, name: str, category: str | None) -> tuple[str, str] | None:
        """Return the class and the emoji key of an icon, or None if it has no class."""
        slug = SKIN_TONE.sub("", name)
        entry = (
            self._by_code.get(code or "") or self._by_name.get(_bare_name(name)) or self._by_name.get(_bare_name(slug))
        )
        if entry is None and name.startswith("flag-for-"):
            entry = self._by_name.get(_bare_name(name.removeprefix("flag-for-")))
        label = CLASS_OF_SUBGROUP.get(self._subgroups.get(str(entry.get("subgroup")), "")) if entry else None
        label = label or (CLASS_OF_CATEGORY.get(category or "") if entry is None else None)
        if label is None:
            self.unmatched += 1
            return None
        return label, entry["hexcode"] if entry else _bare_name(slug)


def _bare_code(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def _bare_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("&", "and"))


def read_icons(package: Path, vocabulary: Vocabulary) -> Iterator[Icon]:
    """Yield the icons of an Iconify package that have a class, as standalone SVG."""
    data = json.loads((package / "icons.json").read_text())
    code_of = {name: code for code, name in json.loads((package / "chars.json").read_text()).items()}
    categories = json.loads((package / "metadata.json").read_text()).get("categories", {})
    category_of = {name: category for category, names in categories.items() for name in names}
    for name, icon in data["icons"].items():
        label_and_emoji = vocabulary.classify(code_of.get(name), name, category_of.get(name))
        if label_and_emoji is None:
            continue
        box = [
            icon.get(key, data.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        ]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
        yield Icon(data["prefix"], name, *label_and_emoji, svg)


def only(icons: list[Icon], path: Path) -> list[Icon]:
    """Return the icons that are in an image set."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["source", "name"])
    kept = set(zip(table["source"].to_pylist(), table["name"].to_pylist(), strict=True))
    return [icon for icon in icons if (icon.source, icon.name) in kept]


def render(icons: list[Icon], drawing: Drawing, chunk: int = 250) -> list[bytes | None]:
    """Return each icon as WebP, or None if it cannot be drawn.

    The rasterizer can crash, so it runs in another process.
    """
    drawn: list[bytes | None] = []
    for start in range(0, len(icons), chunk):
        part = [icon.svg for icon in icons[start : start + chunk]]
        drawn += _isolated(part, drawing) or [image for svg in part for image in _isolated([svg], drawing) or [None]]
    return drawn


def _isolated(svgs: list[str], drawing: Drawing) -> list[bytes | None] | None:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_draw, svgs, drawing).result(timeout=120)
        except (BrokenProcessPool, TimeoutError):
            return None


def _draw(svgs: list[str], drawing: Drawing) -> list[bytes | None]:
    import resvg_py  # pyright: ignore[reportMissingImports]  (requirements-build.txt)
    from PIL import Image

    double = 2 * drawing.side
    images: list[bytes | None] = []
    for svg in svgs:
        try:
            png = resvg_py.svg_to_bytes(svg_string=svg, width=double, height=double)
            picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        except ValueError:
            images.append(None)
            continue
        canvas = Image.new("RGBA", (double, double), "white")  # wide flags are centred, not stretched
        canvas.alpha_composite(picture, ((double - picture.width) // 2, (double - picture.height) // 2))
        image = canvas.convert("RGB").reduce(2)
        if drawing.least_psnr is not None:
            image = fewest_colours(image, drawing.least_psnr)
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=True, quality=100, method=6)
        images.append(buffer.getvalue())
    return images


def fewest_colours(image: "Image.Image", least_psnr: float) -> "Image.Image":
    """Return an RGB image with the fewest colours of COLOURS that are within `least_psnr` dB, or else the image itself.

    WebP then stores indices into a palette.
    """
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image, np.float64)
    for count in COLOURS:
        reduced = image.quantize(count, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE).convert("RGB")
        if np.square(np.asarray(reduced) - pixels).mean() <= 255**2 / 10 ** (least_psnr / 10):
            return reduced
    return image


def distinct(icons: list[Icon], images: list[bytes | None]) -> list[dict]:
    """Return the rows of the data set without blank and repeated drawings. Each emoji is in one split."""
    from PIL import Image

    seen: set[bytes] = set()
    rows = []
    for icon, image in zip(icons, images, strict=True):
        if image is None:
            continue
        pixels = Image.open(io.BytesIO(image)).convert("RGB").tobytes()
        if pixels in seen or len(set(pixels)) == 1:
            continue
        seen.add(pixels)
        draw = int.from_bytes(hashlib.sha256(icon.emoji.encode()).digest()[:8], "big") / 2**64
        split = "held_out" if draw < HELD_OUT else "train"
        rows.append({"image": image, "label": icon.label, "source": icon.source, "name": icon.name, "split": split})
    return rows


def write(rows: list[dict], out: Path) -> None:
    """Write the Parquet file and print the number of images of each class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), out, compression="zstd", compression_level=19)
    for label, count in sorted(Counter(row["label"] for row in rows).items()):
        print(f"  {label:10} {count:5}")


if __name__ == "__main__":
    main()
