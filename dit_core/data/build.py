"""Build `emoji.parquet` from open icon sets: `python -m dit_core.data.build --out FILE`.

Needed only to make the data set again, never to use it. It wants `npm` on the path and the packages of
`requirements-build.txt` beside this file. Every step is deterministic, so the same package versions give the same file.
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

SIZE = 32
ICON_SETS = {  # npm package -> version; all permissive: share-alike sets are left out on purpose
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/emojione": "1.2.3",
    "@iconify-json/fxemoji": "1.2.2",
}
UNICODE_DATA = ("emojibase-data", "17.0.0")
HELD_OUT = 0.1

# Unicode subgroup -> class. The 18 classes are those that hold together to the eye at 32 pixels.
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
CLASS_OF_CATEGORY = {"Flags": "flag", "Food": "food", "Food & Drink": "food"}  # where a name matches no emoji

SKIN_TONE = re.compile(r"-?(medium-light|medium-dark|light|medium|dark)(-skin-tone)?$|-tone-?[1-5]$|-skin-tone")


@dataclass(frozen=True)
class Icon:
    """One drawing of one emoji. `emoji` names it across vendors and skin tones, and so decides the split."""

    source: str
    name: str
    label: str
    emoji: str
    svg: str


def main() -> None:
    """Entry of `python -m dit_core.data.build`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "assets" / "emoji.parquet")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        packages = {name: npm_pack(name, version, Path(folder)) for name, version in [*ICON_SETS.items(), UNICODE_DATA]}
        vocabulary = Vocabulary(packages[UNICODE_DATA[0]])
        icons = [icon for name in ICON_SETS for icon in read_icons(packages[name], vocabulary)]
    print(f"{len(icons)} icons with a class, {vocabulary.unmatched} without")
    images = render(icons)
    rows = distinct(icons, images)
    write(rows, out)
    print(f"{len(rows)} distinct images of {len(icons)} ({sum(i is None for i in images)} could not be drawn)")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")


def npm_pack(name: str, version: str, folder: Path) -> Path:
    """Fetch one npm package and unpack it; returns the folder with its files."""
    done = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--silent"], cwd=folder, check=True, capture_output=True, text=True
    )
    target = folder / name.replace("/", "+")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


class Vocabulary:
    """Finds the emoji behind a code point sequence or a name, by Unicode's own groups (emojibase)."""

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
        """Class and emoji key of an icon, or None where it fits none of the classes."""
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
    """The icons of one Iconify package that have a class, as standalone SVG."""
    data = json.loads((package / "icons.json").read_text())
    code_of = {name: code for code, name in json.loads((package / "chars.json").read_text()).items()}
    categories = json.loads((package / "metadata.json").read_text()).get("categories", {})
    category_of = {name: category for category, names in categories.items() for name in names}
    for name, icon in data["icons"].items():
        found = vocabulary.classify(code_of.get(name), name, category_of.get(name))
        if found is None:
            continue
        box = [
            icon.get(key, data.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        ]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
        yield Icon(data["prefix"], name, *found, svg)


def render(icons: list[Icon], chunk: int = 250) -> list[bytes | None]:
    """Lossless WebP of each icon; None where the rasterizer failed. It may crash: it runs in processes of its own."""
    drawn: list[bytes | None] = []
    for start in range(0, len(icons), chunk):
        part = [icon.svg for icon in icons[start : start + chunk]]
        drawn += _isolated(part) or [image for svg in part for image in _isolated([svg]) or [None]]
    return drawn


def _isolated(svgs: list[str]) -> list[bytes | None] | None:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_draw, svgs).result(timeout=120)
        except (BrokenProcessPool, TimeoutError):
            return None


def _draw(svgs: list[str]) -> list[bytes | None]:
    import resvg_py  # pyright: ignore[reportMissingImports]  (requirements-build.txt)
    from PIL import Image

    images: list[bytes | None] = []
    for svg in svgs:
        try:
            png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIZE, height=2 * SIZE)
            picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        except ValueError:
            images.append(None)
            continue
        canvas = Image.new("RGBA", (2 * SIZE, 2 * SIZE), "white")  # a wide flag is centred, not stretched
        corner = ((2 * SIZE - picture.width) // 2, (2 * SIZE - picture.height) // 2)
        canvas.alpha_composite(picture, corner)
        buffer = io.BytesIO()
        canvas.convert("RGB").reduce(2).save(buffer, "WEBP", lossless=True, quality=100, method=6)
        images.append(buffer.getvalue())
    return images


def distinct(icons: list[Icon], images: list[bytes | None]) -> list[dict]:
    """Rows of the data set: blank and repeated drawings dropped, each emoji wholly in one split."""
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
    """Write the Parquet file and print what each class holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), out, compression="zstd", compression_level=19)
    for label, count in sorted(Counter(row["label"] for row in rows).items()):
        print(f"  {label:10} {count:5}")


if __name__ == "__main__":
    main()
