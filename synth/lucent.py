"""Use parameterisations and objectives of `lucent` (PyPI `torch-lucent` 0.1.8) here, and our encoders there.

`lucent` is not a requirement and is imported only where a function needs it. Its objectives give one number per batch,
lower is better; its randomness is global; its `render_vis` leaves hooks on every module. The functions of this module
hide these differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from synth.parameterisations.core import Parameterisation
from synth.parameterisations.latents import approach

from .contract import EncoderLike, attributes_of, check_shape
from .steady import check_frozen

__all__ = ["LucentModel", "activations", "from_lucent", "render"]

ParamF = Callable[[], tuple[Iterable[Tensor], Callable[[], Tensor]]]
LucentObjective = Callable[[Callable[[str], Tensor]], Tensor]

COMMANDS = "pip install tqdm decorator ipython kornia\npip install --no-deps torch-lucent==0.1.8"


def from_lucent(
    param_f: ParamF, shape: Sequence[int], *, fit_steps: int = 200, fit_rate: float = 0.05
) -> Parameterisation:
    """A parameterisation of lucent, such as ``lambda: param.image(112)`` or ``lambda: param.cppn(112)``, for `ascend`.

    `param_f` is called once per image, so it must make a batch of one; the global generator, which it draws from, is
    seeded from the image's own generator meanwhile and put back. A start image is approached by `fit_steps` of Adam,
    since lucent has no start images.

    A CPPN starts as a uniform image: constraints of contrast refuse it, so raise it without them, or from a start
    image.

    Parameters
    ----------
    param_f : callable without arguments -> (variables, function -> images (1, C, H, W))
    shape : (C, H, W) of the images
    """
    size = check_shape(shape)

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        module = _Rendered([_seeded(param_f, generator) for generator in generators], device)
        images = module.forward()
        if tuple(images.shape) != (len(generators), *size):
            raise ValueError(
                f"param_f gives images of shape {tuple(images.shape[1:])}, one batch per image of {len(images)} for "
                f"{len(generators)} generators; expected {size} and batches of one: leave out `batch=`, and give the "
                "size in pixels and `channels=1` for grey"
            )
        if start is not None:
            wanted = start.detach().to(device)
            for i, variables in enumerate(module.of_each):
                approach(partial(module.image, i), variables, wanted[i : i + 1], steps=fit_steps, rate=fit_rate)
        return module

    settings = {"param_f": getattr(param_f, "__qualname__", type(param_f).__name__)}
    return Parameterisation("lucent", size, settings, build, exact_start=False)


def _seeded(param_f: ParamF, generator: torch.Generator) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """The variables and the image function of one image, drawn from its own generator."""
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    with torch.random.fork_rng():
        for generator in _global_generators():
            generator.manual_seed(seed)
        variables, image_f = param_f()
        return list(variables), image_f


def _global_generators() -> list[torch.Generator]:
    """Those of all devices, since lucent picks the device. Seed them within a fork only, which restores them."""
    if not torch.cuda.is_available():
        return [torch.default_generator]
    torch.cuda.init()  # type: ignore[no-untyped-call]
    return [torch.default_generator, *torch.cuda.default_generators]


class _Rendered(nn.Module):
    """Images of several lucent parameterisations; the variables are theirs, since their image functions hold them."""

    def __init__(self, parts: Sequence[tuple[list[Tensor], Callable[[], Tensor]]], device: torch.device) -> None:
        super().__init__()
        self.of_each = [variables for variables, _ in parts]
        self._image_fs = [image_f for _, image_f in parts]
        self._device = device

    def parameters(self, recurse: bool = True) -> Any:
        """All variables, image by image."""
        return (variable for variables in self.of_each for variable in variables)

    def image(self, index: int) -> Tensor:
        """One image, (1, C, H, W)."""
        return self._image_fs[index]().to(self._device)  # lucent picks its device itself

    def forward(self) -> Tensor:
        """Images (B, C, H, W)."""
        return torch.cat([self.image(i) for i in range(len(self._image_fs))])


def activations(model: nn.Module, objectives: Mapping[str, LucentObjective | str]) -> nn.Module:
    """An encoder whose sites are objectives of lucent on a model: response = -(loss), so that higher is better.

    All objectives of `synth` then work on them, such as ``ascend(activations(net, {"edges": "features_3:7"}),
    stretch("edges"), ...)``. A loss of lucent is one number for a whole batch: here every image is given to it alone,
    so that an image's response is its own. Objectives that compare images (diversity, alignment, interpolation,
    ``batch=``) therefore have no meaning and are refused. Layers are named as in lucent, by underscores; hooks are
    removed after every call.

    Parameters
    ----------
    model : nn.Module, images (B, C, H, W) in [0, 1] -> anything
        In evaluation mode; preprocessing, such as lucent's `normalize`, belongs inside.
    objectives : dict of site id to objective, or to a text "layer:channel" (needs lucent)
    """
    if not objectives:
        raise ValueError("no objectives; expected at least one, {site id: objective}")
    as_objective = (
        _lucent("optvis.objectives").as_objective if any(isinstance(o, str) for o in objectives.values()) else None
    )
    by_site = {name: as_objective(o) if isinstance(o, str) and as_objective else o for name, o in objectives.items()}
    return _Activations(model, by_site).eval()


class _Activations(nn.Module):
    def __init__(self, model: nn.Module, objectives: Mapping[str, Any]) -> None:
        super().__init__()
        check_frozen(model, "model")
        self.model = model
        self.objectives = dict(objectives)
        self.site_ids = tuple(self.objectives)

    def forward(self, images: Tensor) -> Tensor:
        """Responses (B, U), one column per objective."""
        kept = self._activations(images)
        rows = [self._responses(kept, i) for i in range(len(images))]
        return torch.stack(rows)  # (B, U)

    def _activations(self, images: Tensor) -> dict[str, Tensor]:
        """What every layer gives, under lucent's names, in the order of the modules."""
        kept: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                kept[name] = (
                    output.clone() if isinstance(output, Tensor) else output
                )  # a following in-place activation would change it

            return hook

        names = [(name.replace(".", "_"), module) for name, module in self.model.named_modules() if name]
        handles = [module.register_forward_hook(keep(name)) for name, module in names]
        try:
            self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        last = [name for name, _ in names if name in kept][-1:]
        return {**kept, "input": images, **({"labels": kept[last[0]]} if last else {})}

    def _responses(self, kept: Mapping[str, Tensor], index: int) -> Tensor:
        def look_up(layer: str) -> Tensor:
            if layer not in kept:
                raise ValueError(
                    f"unknown layer {layer!r}; expected one of {', '.join(list(kept)[:20])}. Names are those of "
                    "named_modules() with underscores for dots"
                )
            return kept[layer][index : index + 1]

        return torch.stack([self._response(name, objective(look_up)) for name, objective in self.objectives.items()])

    def _response(self, name: str, loss: Any) -> Tensor:
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and bool(torch.isfinite(loss.detach()).all())):
            raise ValueError(
                f"the objective of {name!r} gives {loss.detach() if isinstance(loss, Tensor) else loss!r} for one "
                "image; expected a finite tensor of one number. Likely cause: it compares the images of a batch "
                "(diversity, alignment, interpolation, batch=), which has no score for an image by itself: use "
                "`synth.diverse`, or rows of their own"
            )
        response: Tensor = -loss.reshape(())
        return response


class LucentModel(nn.Module):
    """Our encoder as a model that lucent's `render_vis` optimises; see `render`, which also gives the right arguments.

    Its one layer ``responses`` gives (B, U, 1, 1), the mean over members where there are several, in the encoder's
    unit. The encoder itself is no submodule, so lucent's hooks, which it never removes, go with this object.
    `render_vis` by itself must be given ``preprocess=False``, ``fixed_image_size=`` the encoder's and `transforms`: its
    defaults normalise to ImageNet's statistics, enlarge to 224 pixels, and need a kornia of 2020.
    """

    def __init__(self, encoder: EncoderLike) -> None:
        super().__init__()
        check_frozen(encoder)
        self.responses = _Responses(encoder)
        self.site_ids = attributes_of(encoder).site_ids
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Responses (B, U, 1, 1)."""
        low, high = float(images.detach().min()), float(images.detach().max())
        if not (low >= -1e-3 and high <= 1.001):
            raise ValueError(
                f"images range from {low:g} to {high:g}; expected [0, 1]. Likely cause: render_vis normalised them; "
                "give it preprocess=False, or use synth.lucent.render"
            )
        responses: Tensor = self.responses(images)
        return responses

    def channel(self, site: str | int) -> str:
        """The objective of lucent that drives a site: ``responses:3``."""
        if isinstance(site, str):
            if self.site_ids is None or site not in self.site_ids:
                raise ValueError(
                    f"unknown site {site!r}; expected one of {', '.join(self.site_ids or ('(no names)',))}"
                )
            site = self.site_ids.index(site)
        return f"responses:{site}"


class _Responses(nn.Module):
    def __init__(self, encoder: EncoderLike) -> None:
        super().__init__()
        device = attributes_of(encoder).device  # lucent picks that of the images itself
        self._encode: EncoderLike = lambda images: encoder(images.to(device))

    def forward(self, images: Tensor) -> Tensor:
        responses = self._encode(images)
        return (responses.mean(0) if responses.dim() == 3 else responses)[:, :, None, None]


def render(
    encoder: EncoderLike,
    objective: str | int | LucentObjective,
    param_f: ParamF,
    *,
    transforms: Sequence[Callable[[Tensor], Tensor]] = (),
    steps: int = 512,
    seed: int = 0,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
) -> Tensor:
    """Images of an encoder by lucent's own `render_vis`: for comparison; `ascend` otherwise.

    Parameters
    ----------
    encoder : callable, images (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U)
    objective : a site, or an objective of lucent on the layer ``responses`` (see `LucentModel`)
    param_f : as of `from_lucent`
    transforms : sequence of callables images -> images, such as ``lucent.optvis.transform.jitter(8)``
        They draw from numpy's global generator, whose state is put back. Images leave them resized to what `param_f`
        makes.
    steps, seed : int
    optimizer : callable variables -> optimiser, or None (lucent's Adam, 0.05)

    Returns
    -------
    Tensor of shape (B, C, H, W), in [0, 1] where `param_f` keeps to it
    """
    import numpy as np

    show = _lucent("optvis.render").render_vis
    model = LucentModel(encoder)
    trained = [p for p in encoder.parameters() if p.requires_grad] if isinstance(encoder, nn.Module) else []
    asked = model.channel(objective) if isinstance(objective, (str, int)) else objective
    state = np.random.get_state()  # noqa: NPY002
    for parameter in trained:
        parameter.requires_grad_(False)  # render_vis would leave gradients on them
    try:
        with torch.random.fork_rng():
            for generator in _global_generators():
                generator.manual_seed(seed)
            # lucent's transforms draw from numpy's global generator
            np.random.set_state(np.random.RandomState(seed).get_state())  # noqa: NPY002
            variables, image_f = param_f()
            images = show(
                model,
                asked,
                lambda: (variables, image_f),
                optimizer,
                transforms=list(transforms),
                thresholds=(steps,),
                preprocess=False,
                progress=False,
                show_image=False,
                fixed_image_size=tuple(image_f().shape[2:]),
            )
    finally:
        np.random.set_state(state)  # noqa: NPY002
        for parameter in trained:
            parameter.requires_grad_(True)
    return torch.from_numpy(images[-1]).permute(0, 3, 1, 2).contiguous()


def _lucent(name: str) -> ModuleType:
    """A module of lucent, imported now."""
    import importlib

    try:
        return importlib.import_module(f"lucent.{name}")
    except ImportError as error:
        raise ImportError(
            f"lucent cannot be imported ({error}). It is not a requirement of stimsynth, since its declared "
            "requirements clash with "
            f"today's kornia; install it without them:\n{COMMANDS}\n(the package `lucent` on PyPI is another one)"
        ) from error
