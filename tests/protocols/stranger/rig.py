"""A laboratory's rig that knows nothing but the files: `python rig.py OUTBOX INBOX SEED`; it prints what it did as JSON."""

import csv
import hashlib
import json
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np

SITES = [f"u{n:02d}" for n in (4, 1, 7, 2, 9, 3)]


def luminance(path):
    """Pixels of an 8-bit PNG as grey values 0..1."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, at = data[at + 8 : at + 8 + length], at + 12 + length
        if name == b"IHDR":
            width, height, n = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"), {0: 1, 2: 3}[body[9]]
        packed += body if name == b"IDAT" else b""
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * n)
    out = [[0] * (width + 1) * n]  # a border of zeros above and on the left
    for kind, *line in lines.tolist():
        row, above = [0] * n, out[-1]
        for i, value in enumerate(line, n):
            a, b, c = row[i - n], above[i], above[i - n]
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2] if kind == 4 else 0
            row.append((value + (0, a, b, (a + b) // 2, near)[kind]) % 256)
        out.append(row)
    return np.reshape(out, (height + 1, width + 1, n))[1:, 1:].mean(2) / 255


def rates(image):
    """Spikes per presentation of every site: the energy of one oriented filter, each at its own place."""
    y, x = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    found = []
    for n in range(len(SITES)):
        cx, cy, angle = 0.4 * np.cos(n), 0.4 * np.sin(2 * n), n * np.pi / len(SITES)
        wave = np.exp(1j * 9 * ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)))
        window = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 0.3**2))
        found.append(2 + 120 * abs((wave * window * (image - image.mean())).sum()) / window.sum())
    return np.array(found)


def write(path, about, rows, sites):
    """One part in MATLAB's layout: dimensions reversed, vectors 1 x N; renamed when whole, then its .done file."""
    images, values, block, rep, valid = (np.array(c) for c in zip(*rows, strict=True))
    with h5py.File(f"{path}.part", "w") as file:
        file["responses"] = values[:, sites].T.astype(np.float32)
        for name, text in (("image_id", images), ("site_id", [SITES[s] for s in sites])):
            file.create_dataset(name, data=np.array(list(text), object)[None], dtype=h5py.string_dtype())
        for name, column in (("block", block), ("rep", rep), ("valid", valid)):
            file[f"trial/{name}"] = column[None].astype(float)
        file.attrs.update(about)
    Path(f"{path}.part").rename(path)
    Path(f"{path}.done").touch()


outbox, inbox, rng = Path(sys.argv[1]), Path(sys.argv[2]), np.random.default_rng(int(sys.argv[3]))
manifest = json.loads((outbox / "manifest.json").read_text())
sha = hashlib.sha256((outbox / "manifest.json").read_bytes()).hexdigest()
window = [float(t) for t in manifest["timing"]["response_window_ms"]]
about = {"units": "spikes", "window_ms": window, "writer": "matlab", "manifest_sha256": sha, "subject": "Simulated"}
listed = csv.DictReader((outbox / "images.csv").read_text().splitlines())
known = {r["image_id"]: rates(luminance(outbox / r["filename"])) for r in listed}
listed = csv.DictReader((outbox / "order.csv").read_text().splitlines())
order = [(r["image_id"], int(r["block"]), int(r["rep"])) for r in listed]
told = {"shown": len(order), "invalid": 0, "parts": {}}
for block in sorted({b for _, b, _ in order}, key=lambda _: rng.random()):  # the parts come in any order
    mine = [(i, rng.poisson(known[i]), b, r, rng.random() > 0.02) for i, b, r in order if b == block]
    kept = [row for row in mine if rng.random() > 0.02]
    begun = [(*row[:4], False) for row in mine[:15]] if block == 1 else []  # aborted, then the whole block again
    name = f"responses_block_{block:02d}.h5"
    write(inbox / name, about, begun + kept, rng.permutation(len(SITES)))
    told["parts"][name], told["invalid"] = len(begun + kept), told["invalid"] + sum(not r[4] for r in begun + kept)
print(json.dumps(told))
