"""What a run rests on, asked before it: one tensor per call, the same again, and of an image alone as in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from synth.objectives import BoundObjective, site_name

from .contract import EncoderLike
from .steady import Watch, check_frozen, tensor_of, watched

__all__ = ["Asked", "Cast", "ask", "ask_encoder", "check_answers", "check_weights", "probe_images", "settled", "works"]

Call = Callable[[Tensor], Tensor]
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
AGAIN = 1e-4  # of the spread of the answers: the same inputs, on a CPU
ELSEWHERE = 1e-3  # of the spread: the same inputs in another batch, or on a GPU
COARSE = 10  # times that, where a network computes in less than float32
AGAIN_CURE = "Take dropout, noise and state out of its forward, and call .eval()"
BATCH_CURE = "Take out what mixes the images of a batch (batch statistics, a normalisation over the batch)"
TF32 = 2.0**-10  # rounding of products on a GPU


class Cast(nn.Module):
    """A network of another floating-point type, for inputs and answers of float32; its attributes are the network's."""

    def __init__(self, network: Call, takes: torch.dtype) -> None:
        super().__init__()
        self.network, self.takes = network, takes

    def forward(self, inputs: Tensor) -> Any:
        """The network's answer, in float32."""
        answer = self.network(inputs.to(self.takes))
        return answer.float() if isinstance(answer, Tensor) and answer.is_floating_point() else answer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            value = getattr(self.network, name)
        return (lambda images: value(images.to(self.takes))) if name == "judge" else value


@dataclass(frozen=True)
class Asked:
    """An encoder that has been asked.

    Attributes
    ----------
    encoder : callable
        The encoder itself, or behind a change of floating-point type (`Cast`).
    takes : torch.dtype, or None
        The type of that change.
    dtype : torch.dtype
        That of the images of the run.
    sites : int
    members : int, or None
    silent : dict of int to float
        The columns that answered NaN or infinity, and what they answered.
    """

    encoder: EncoderLike
    takes: torch.dtype | None
    dtype: torch.dtype
    sites: int
    members: int | None
    silent: dict[int, float]

    def settings(self) -> dict[str, Any]:
        """For the record: the type that the encoder takes, where it is not that of the images."""
        return {} if self.takes is None else {"encoder_dtype": str(self.takes).removeprefix("torch.")}


def probe_images(shape: Sequence[int], device: torch.device) -> Tensor:
    """Noise, ramps along both sides, and faint noise: images (4, C, H, W) in [0, 1], none of them constant."""
    channels, height, width = shape
    noise = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    across, down = (torch.linspace(0, 1, n, dtype=torch.float32) for n in (width, height))
    ramps = [across.expand(channels, height, width), 1 - down[:, None].expand(channels, height, width)]
    return torch.stack([noise[0], *ramps, 0.4 + 0.2 * noise[1]]).to(device)


def ask_encoder(
    encoder: EncoderLike,
    images: Tensor,
    *,
    site_ids: Sequence[str] | None,
    dtype: torch.dtype = torch.float32,
    what: str = "encoder",
) -> Asked:
    """Ask an encoder five times: one of the `images`, all, all again, and each half of them in another order.

    Nothing of the user's changes: buffers and generators of random numbers are as before.

    Parameters
    ----------
    encoder : callable
    images : Tensor of shape (B, C, H, W), float32, in [0, 1]
        On the device of the run.
    site_ids : sequence of U str, or None
    dtype : torch.dtype
        That of the images of the run; float32 is taken instead where the encoder takes no other.
    what : str
        For error messages.

    Raises
    ------
    ValueError
        Training mode, chance, answers that depend on the batch, a changed image or buffer; an answer that is no tensor
        (B, U) or (M, B, U) on the device of the images; another number of columns than of sites. The message says how
        to mend it.
    """
    check_frozen(encoder, what)
    check_weights(encoder, what)
    with watched(encoder, what, images.device), torch.no_grad():
        call, takes = settled(encoder, images[:1], what)
        one = images[:1].to(dtype)
        dtype = dtype if takes is None and dtype != torch.float32 and works(call, one) else torch.float32

    def answer(some: Tensor) -> Tensor:
        given = some.clone()
        responses = tensor_of(call(given), what, "(B, U), or (M, B, U) of members")
        _check_responses(responses, some, what)
        if not torch.equal(given, some):
            raise ValueError(f"the {what} changes the images it is given; expected no in-place operation on its input")
        return responses

    responses = ask(answer, images, what=what, watch=encoder, axis=-2)
    sites = responses.shape[-1]
    if site_ids is not None and len(site_ids) != sites:
        raise ValueError(
            f"the {what} gives {sites} responses per image for {len(site_ids)} site_ids; expected one column per site, "
            "in the order of site_ids"
        )
    flat = responses.reshape(-1, sites)
    bad = ~torch.isfinite(flat)
    silent = {int(i): float(flat[bad[:, i], i][0]) for i in bad.any(0).nonzero().flatten()}
    members = len(responses) if responses.dim() == 3 else None
    return Asked(encoder=call, takes=takes, dtype=dtype, sites=sites, members=members, silent=silent)


def check_answers(asked: Asked, objective: BoundObjective, site_ids: Sequence[str] | None) -> None:
    """Refuse an encoder that lacks sites of the objective, or answers NaN or infinity at a site that a score needs.

    Raises
    ------
    ValueError
    """
    objective.check_sites(asked.sites)
    if objective.contrasts and asked.members != 2:
        raise ValueError(
            f"an encoder of {asked.members or 1} member(s) for an objective made by against(); expected two members, "
            "(2, images, sites), the encoders to be told apart"
        )
    bad = [i for i in objective.used(asked.sites) if i in asked.silent]
    if bad:
        names = [site_name(i) if site_ids is None else site_ids[i] for i in bad]
        raise ValueError(
            f"the encoder gives {asked.silent[bad[0]]:g} for {', '.join(names[:5])} to plain images (noise and ramps "
            "in [0, 1]); expected finite responses. Look for logarithms, divisions by 0 and weights that are NaN, or "
            "leave the sites out"
        )


def ask(answer: Call, inputs: Tensor, *, what: str, watch: object, axis: int = 0) -> Tensor:
    """The answer to `inputs` (n, ...), refused where the network answers otherwise a second time or in another batch.

    Four calls: all inputs twice, then each half of them, the last first.

    Parameters
    ----------
    answer : callable, inputs (n, ...) -> Tensor with n rows along `axis`
    inputs : Tensor of shape (n, ...)
    what : str
        For error messages.
    watch : callable
        The network behind `answer`: its type of numbers says how far answers may lie apart.
    axis : int

    Raises
    ------
    ValueError
    """
    (first, again), halves, seen = _answers(answer, inputs, what, watch=watch)
    if seen.changed:
        raise ValueError(
            f"the {what} changes its own state when it is asked ({', '.join(seen.changed[:3])}; put back); expected "
            "running statistics and the like to be frozen: call .eval() on the networks behind it, and leave no "
            "training=True and no state in forward"
        )
    if seen.drew:
        raise ValueError(
            f"the {what} draws random numbers when it is asked, so that a stored prediction would be a lucky draw. "
            "Likely cause: dropout by a function (dropout(x, p) is always on; give training=self.training and call "
            ".eval()), noise or sampling in forward. Take it out, or draw it from a torch.Generator that is seeded in "
            "every call"
        )
    tolerances = _tolerances(first, watch, axis)
    twice = f"the {what} answers otherwise to the same inputs a second time"
    _compare(first, again, tolerances[0], says=twice, cure=AGAIN_CURE)
    apart = f"the {what} answers otherwise to the same input in another batch"
    for order, half in halves:
        _compare(first.index_select(axis, order), half, tolerances[1], says=apart, cure=BATCH_CURE)
    return first


def _answers(
    answer: Call, inputs: Tensor, what: str, *, watch: object
) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]], Watch]:
    """Answers to the inputs twice, and (order, answers) to each half; fewer inputs where memory does not suffice."""
    some = inputs
    while True:
        last = len(some) - 1  # halves, the last first: whatever one image does to all others is not in both
        orders = [torch.arange(end, -1, -2, device=some.device) for end in (last, last - 1) if end >= 0]
        try:
            for _ in range(2):  # another thread may have drawn a random number, or the network on its first call
                with watched(watch, what, some.device) as seen, torch.no_grad():
                    answers = [answer(some), answer(some)]
                    halves = [(order, answer(some[order])) for order in orders]
                if not seen.drew:
                    break
            return answers, halves, seen
        except torch.OutOfMemoryError:
            if len(some) == 1:
                raise
            some = some[: len(some) // 2]


def _compare(expected: Tensor, found: Tensor, tolerance: Tensor, *, says: str, cure: str) -> None:
    """Refuse answers that lie farther apart than `tolerance`; NaN and infinity are equal to themselves alone."""
    expected, found = expected.cpu(), found.cpu()
    same = (found == expected) | (found.isnan() & expected.isnan())
    far = torch.where(same, 0.0, (found.double() - expected.double()).abs()).nan_to_num(torch.inf) > tolerance
    if bool(far.any()):
        raise ValueError(f"{says}: {float(expected[far][0]):g}, then {float(found[far][0]):g}. {cure}")


def _tolerances(answers: Tensor, network: object, axis: int) -> tuple[Tensor, Tensor]:
    """How far answers may lie apart for rounding: a second time, and in another batch."""
    values = answers.cpu().double().nan_to_num(0.0, 0.0, 0.0)
    spread, size = values.std(axis, correction=0, keepdim=True), values.abs().max()
    types = {answers.dtype}
    if isinstance(network, nn.Module):
        types |= {p.dtype for p in network.parameters() if p.is_floating_point()}
    rounding = max(torch.finfo(t).eps for t in types)
    coarse = COARSE if rounding > torch.finfo(torch.float32).eps else 1
    if answers.device.type == "cpu":
        again = AGAIN * spread + 1e-6 * size
    else:
        rounding = max(rounding, TF32)
        again = ELSEWHERE * spread + 2 * rounding * size
    return again + 1e-12, coarse * ELSEWHERE * spread + (4 if coarse > 1 else 16) * rounding * size + 1e-12


def settled(network: Call, inputs: Tensor, what: str) -> tuple[Call, torch.dtype | None]:
    """The network, where it takes float32 `inputs`; else behind a change to the floating-point type that it takes.

    Raises
    ------
    ValueError
        It takes none.
    """
    try:
        network(inputs)
        return network, None
    except (ValueError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a network of unknown origin may raise anything
        for dtype in TYPES[1:]:
            if works(network, inputs.to(dtype)):
                return Cast(network, dtype), dtype
        raise ValueError(_failure(network, inputs, what, error=error)) from error


def works(network: Call, inputs: Tensor) -> bool:
    """Whether a network takes such inputs."""
    try:
        network(inputs)
    except Exception:  # a network of unknown origin may raise anything
        return False
    return True


def _failure(network: Call, inputs: Tensor, what: str, *, error: Exception) -> str:
    """Why a network fails: another number of channels, another device, or the error itself."""
    shape, call = ("n", *inputs.shape[1:]), what.split()[0]
    text = f"the {what} fails on inputs of shape ({', '.join(map(str, shape))}), {inputs.dtype}, on {inputs.device}"
    if what in ("encoder", "validator") and inputs.shape[1] in (1, 3):
        grey = inputs.shape[1] == 1
        if works(network, inputs.expand(-1, 3, -1, -1) if grey else inputs[:, :1]):
            how = "x.expand(-1, 3, -1, -1)" if grey else "x.mean(1, keepdim=True)"
            return (
                f"{text}: it takes {3 if grey else 1} channels. Give images of as many, or wrap it: lambda x: "
                f"{call}({how})"
            )
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = f". Likely cause: not all of it is on one device; {call}.to(device)" if "device" in first else ""
    return f"{text}: {first}{hint}"


def _check_responses(responses: Tensor, images: Tensor, what: str) -> None:
    if responses.dim() not in (2, 3) or responses.shape[-2] != len(images) or 0 in responses.shape:
        alone = ". One site: responses[:, None]" if responses.dim() == 1 else ""
        raise ValueError(
            f"the {what} gives responses of shape {tuple(responses.shape)} for {len(images)} images; expected (images, "
            f"sites) or (members, images, sites){alone}"
        )
    if responses.device != images.device:
        raise ValueError(
            f"the {what} gives responses on {responses.device} for images on {images.device}; expected one device: "
            f"{what.split()[0]}.to(device), and nothing moved in its forward"
        )


def check_weights(network: object, what: str) -> None:
    """Refuse weights that are not there yet, or that no gradient can pass.

    Raises
    ------
    ValueError
    """
    if not isinstance(network, nn.Module):
        return
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(value) or value.device.type == "meta":
            raise ValueError(
                f"the {what}'s {name} holds no values yet (a lazy layer that was never called, or weights that were "
                "not loaded); load its weights first"
            )
        if value.is_inference():
            raise ValueError(
                f"the {what}'s {name} was made under torch.inference_mode, so that no gradient can pass; build or load "
                "the network outside of it, or take a copy: copy.deepcopy(network) outside"
            )
