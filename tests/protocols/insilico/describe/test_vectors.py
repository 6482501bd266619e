"""Vectors from tables and from the image half of a model; lists of words."""

from __future__ import annotations

import json
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from protocols.errors import DataError
from protocols.insilico.describe.tower import image_vectors
from protocols.insilico.describe.vectors import read_table, read_vectors
from protocols.insilico.describe.word_list import read_words

ROOT = Path(__file__).parents[4]
SOURCES = ("img_1", "img_0", "img_2")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)


def tables(folder: Path, **changed: object) -> Path:
    """Vectors of three photographs, one further image and three words."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    images = {"ids": np.array(["img_0", "img_1", "img_2", "other"]), "vectors": rng.normal(size=(4, 5))}
    words = {"ids": np.array(["fur", "a dot", "stripes"]), "vectors": rng.normal(size=(3, 5))}
    np.savez(folder / "images.npz", **(images | {k: v for k, v in changed.items() if not k.startswith("word_")}))
    np.savez(folder / "words.npz", **(words | {k[5:]: v for k, v in changed.items() if k.startswith("word_")}))
    return folder


def test_rows_are_found_by_their_ids_and_further_images_are_the_library(tmp_path: Path) -> None:
    folder = tables(tmp_path / "v")
    found = read_vectors(folder, SOURCES, PIXELS, words=("stripes", "a horse", "fur"))
    with np.load(folder / "images.npz") as images, np.load(folder / "words.npz") as words:
        np.testing.assert_array_equal(found.photographs, images["vectors"][[1, 0, 2]])
        np.testing.assert_array_equal(found.library, images["vectors"])
        np.testing.assert_array_equal(found.of_words, words["vectors"][[2, 0]])
    assert (found.words, found.without) == (("stripes", "fur"), ("a horse",))
    assert read_vectors(folder, SOURCES, PIXELS).words == ("fur", "a dot", "stripes")


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"ids": np.array(["img_0", "img_1", "img_3", "other"])}, "V64", "1 of 3 photographs"),
        ({"ids": np.array(["img_0", "img_1", "img_2", "img_2"])}, "V63", "twice"),
        ({"ids": np.arange(4)}, "V63", "no text"),
        ({"ids": np.array(["a", None, "b", "c"], dtype=object)}, "V63", "cannot be read"),
        ({"vectors": np.ones((3, 5))}, "V63", "shape"),
        ({"vectors": np.full((4, 5), np.nan)}, "V63", "not finite"),
        ({"vectors": np.zeros((4, 5))}, "V63", "all zero"),
        ({"vectors": np.ones((4, 6))}, "V63", "images with 6 numbers and words with 5"),
        ({"word_vectors": np.ones((3, 5), dtype=complex)}, "V63", "complex"),
    ],
)
def test_what_is_refused_of_a_table(changed: dict, code: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as error:
        read_vectors(tables(tmp_path / "v", **changed), SOURCES, PIXELS)
    assert error.value.code == code
    assert str(tmp_path) not in str(error.value)


def test_missing_files_and_words_that_the_table_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder") as error:
        read_vectors(tmp_path / "none", SOURCES, PIXELS)
    assert error.value.code == "V63"
    folder = tables(tmp_path / "v")
    with pytest.raises(DataError, match="none of the 1 words") as error:
        read_vectors(folder, SOURCES, PIXELS, words=("a horse",))
    assert error.value.code == "V64"
    for name in ("images.npz", "words.npz"):
        (folder / name).unlink()
        with pytest.raises(DataError, match="no such file"):
            read_vectors(folder, SOURCES, PIXELS)


def value_or_code(call: Callable[[], Any]) -> Any:
    """What a call returns, or the code of its refusal."""
    try:
        return call()
    except DataError as error:
        return error.code


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, at: int, whole: bool) -> None:
    path = tables(tmp_path / "v") / "words.npz"
    valid = path.read_bytes()
    path.write_bytes(data if whole else valid[:at] + data + valid[at:])
    found = value_or_code(lambda: read_table(path))
    assert found == "V63" or (len(found[0]) == len(found[1]) and np.isfinite(found[1]).all())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_list_of_words_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    words = value_or_code(lambda: read_words(path))
    assert words == "V65" or list(words) == list(dict.fromkeys(" ".join(word.split()) for word in words))


def test_the_list_of_stimsynth(tmp_path: Path) -> None:
    words = read_words()
    assert 200 <= len(words) <= 300
    assert {"stripes", "a face", "fur"} <= set(words)
    with pytest.raises(DataError, match="cannot be read"):
        read_words(tmp_path / "none.txt")


# --- the image half of a model ---------------------------------------------------------------------------------------


def tower(folder: Path, architecture: str = "test_vit") -> Path:
    """A small vision transformer of timm with random weights, saved as timm saves models."""
    import timm
    from safetensors.torch import save_file

    folder.mkdir()
    torch_seed = torch.Generator().manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False, num_classes=12)
    state = {n: 0.1 * torch.randn(t.shape, generator=torch_seed) for n, t in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = {
        "architecture": architecture, "num_classes": 12,
        "pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "input_size": [3, 160, 160]},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_an_image_model_in_a_folder_gives_the_vectors(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import load_file

    folder = tower(tmp_path / "t")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 160, 160, 3), dtype=np.uint8)
    found = image_vectors(folder, pixels)
    network = timm.create_model("test_vit", pretrained=False, num_classes=12).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    images = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        np.testing.assert_allclose(found, network(images).numpy(), atol=1e-4)
    np.testing.assert_allclose(image_vectors(folder, pixels[2:3])[0], found[2], atol=1e-4)
    grey = image_vectors(folder, pixels[..., :1])
    np.testing.assert_allclose(grey, image_vectors(folder, pixels[..., :1].repeat(3, 3)), atol=1e-5)
    np.savez(folder / "words.npz", ids=np.array(["fur", "a dot"]), vectors=np.eye(12)[:2])
    read = read_vectors(folder, ["a", "b", "c", "d", "e"], pixels)
    np.testing.assert_array_equal(read.photographs, read.library)
    assert read.photographs.shape == (5, 12)


@pytest.mark.parametrize("fault", ["architecture", "tensors", "keys", "cut"])
def test_what_is_refused_of_a_model(fault: str, tmp_path: Path) -> None:
    folder = tower(tmp_path / "t", "hf_hub:someone/model" if fault == "architecture" else "test_vit")
    config = json.loads((folder / "config.json").read_text())
    if fault == "tensors":
        config["num_classes"] = 13
    if fault == "keys":
        del config["pretrained_cfg"]["mean"]
    (folder / "config.json").write_text(json.dumps(config))
    if fault == "cut":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError) as error:
        image_vectors(folder, PIXELS)
    assert error.value.code == "V66"


# --- the program that makes the tables -------------------------------------------------------------------------------


def test_the_program_for_open_clip_makes_tables_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for open_clip, which has the three calls that the program makes."""

    class Model:
        def eval(self) -> None: ...

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :6].half() + 1

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokens.float() + torch.arange(6)

    def preprocess(picture: Image.Image) -> torch.Tensor:
        assert picture.mode == "RGB"
        return torch.from_numpy(np.array(picture, dtype=np.float32).transpose(2, 0, 1)) / 255

    stand_in = types.ModuleType("open_clip")
    stand_in.create_model_and_transforms = lambda name, pretrained: (Model(), None, preprocess)  # type: ignore[attr-defined]
    stand_in.get_tokenizer = lambda name: lambda texts: torch.tensor([[len(texts[0])]])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "open_clip", stand_in)
    (tmp_path / "natural").mkdir()
    for name, pixels in zip(SOURCES, PIXELS, strict=True):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "natural" / f"{name}.png")
    (tmp_path / "words.txt").write_text("# comment\nfur\na dot\n")
    monkeypatch.setattr(sys, "argv", ["make_vectors.py", *(str(tmp_path / n) for n in ("natural", "words.txt", "out"))])
    runpy.run_path(str(ROOT / "protocols/insilico/describe/make_vectors.txt"), run_name="__main__")
    found = read_vectors(tmp_path / "out", SOURCES, PIXELS)
    assert found.words == ("fur", "a dot")
    assert found.photographs.shape == (3, 6)
