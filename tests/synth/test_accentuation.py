from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from synth import StimulusBatch, accentuating, ascend, blend, exact_statistics, fourier, noise_within, stretch, within

SHAPE = (3, 28, 28)


def photographs(make_photo, count: int = 2) -> Tensor:
    return (make_photo((count, *SHAPE), seed=7) * 255).round() / 255


def distance(images: np.ndarray, photos: Tensor) -> np.ndarray:
    """Root mean squared pixel difference in SDs of the photograph, pair by pair."""
    shown, wanted = images / 255, photos.permute(0, 2, 3, 1).double().numpy()
    return np.sqrt(((shown - wanted) ** 2).mean((1, 2, 3))) / wanted.std((1, 2, 3))


@pytest.mark.parametrize("members", [1, 3])
def test_columns_are_the_encoders_and_minus_the_distances(members: int, make_encoder, make_photo) -> None:
    encoder, photos, images = make_encoder(members=members), photographs(make_photo), make_photo((4, *SHAPE))
    seen = accentuating(encoder, photos)
    responses = seen(images)
    assert torch.equal(responses[..., :5], encoder(images))
    for i in range(4):
        for k in range(2):
            wanted = -distance(images[i : i + 1].permute(0, 2, 3, 1).double().numpy() * 255, photos[k : k + 1])[0]
            assert responses[..., i, 5 + k].numpy() == pytest.approx(wanted, abs=1e-5)
    assert seen.site_ids == (*encoder.site_ids, "like_000", "like_001")
    assert seen.natural_mean.tolist()[5:] == [0, 0]
    assert seen.natural_sd.tolist()[5:] == [1, 1]
    uniform = photos.mean((1, 2, 3), keepdim=True).expand_as(photos)
    assert seen(uniform)[..., [0, 1], [5, 6]].numpy() == pytest.approx(-1, abs=1e-5)


def test_a_greater_weight_keeps_more_of_the_photograph(encoder, make_photo) -> None:
    photos = photographs(make_photo)
    seen = accentuating(encoder, photos)
    display = exact_statistics(SHAPE)
    run = lambda weight: ascend(seen, stretch(encoder.site_ids[:2]) + weight * stretch(["like_000", "like_001"]), fourier(SHAPE), constraints=[display], start=photos, steps=40, transforms=(), learning_rate=0.01)  # noqa: E731  # fmt: skip
    weak, strong = run(1.0), run(40.0)
    z = lambda batch: ((torch.from_numpy(batch.predicted[:, :5]) - encoder.natural_mean) / encoder.natural_sd)[[0, 1], [0, 1]]  # noqa: E731  # fmt: skip
    start = (encoder(photos) - encoder.natural_mean) / encoder.natural_sd
    assert (z(weak) > z(strong)).all()
    assert (z(strong) > start[[0, 1], [0, 1]] + 0.5).all()
    near, far = distance(strong.images, photos), distance(weak.images, photos)
    assert (near < 0.7 * far).all(), (near, far)
    assert np.allclose(strong.predicted[[0, 1], [5, 6]], -near, atol=1e-5)


def test_a_limit_on_the_distance_holds(encoder, make_photo) -> None:
    photos = photographs(make_photo, 1)
    seen = accentuating(encoder, photos, ["like_street"])
    objective = stretch(encoder.site_ids[0]) + 1e5 * within("like_street", low=-0.2, high=1.0)
    batch = ascend(seen, objective, fourier(SHAPE), start=photos, steps=60, transforms=(), learning_rate=0.01)
    assert 0.05 < distance(batch.images, photos)[0] < 0.22
    assert np.corrcoef(batch.images.ravel(), photos.permute(0, 2, 3, 1).numpy().ravel())[0, 1] > 0.95
    assert batch.scores[0] > batch.trace[0, 0]


def test_features_measure_the_distance(encoder, make_photo) -> None:
    photos, images = photographs(make_photo), make_photo((2, *SHAPE))
    layer = lambda x: torch.nn.functional.elu(encoder.first(4 * x - 2))  # noqa: E731
    got = accentuating(encoder, photos, features=layer)(images)[0, 5:]
    for k in range(2):
        of_image, of_photo = layer(images)[0].double(), layer(photos)[k].double()
        expected = -((of_image - of_photo) ** 2).mean().sqrt() / of_photo.std(correction=0)
        assert got[k].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_saved_batch_is_validated_like_any_other(encoder, make_encoder, make_photo, tmp_path) -> None:
    photos, validator = photographs(make_photo), make_encoder(seed=4)
    objective = stretch(encoder.site_ids[:2]) + 5.0 * stretch(["like_000", "like_001"])
    batch = ascend(accentuating(encoder, photos), objective, fourier(SHAPE), start=photos, steps=5)
    again = StimulusBatch.load(batch.save(tmp_path / "batch.h5")).validate(accentuating(validator, photos))
    images = torch.from_numpy(again.images).permute(0, 3, 1, 2).float() / 255
    z = ((validator(images) - validator.natural_mean) / validator.natural_sd)[[0, 1], [0, 1]]
    assert np.allclose(again.validator_scores, z.numpy() - 5 * distance(again.images, photos), atol=1e-4)
    assert again.encoder_fingerprint.startswith("enc_00000000+like_")
    with pytest.raises(ValueError, match="unknown site 'like_000'"):
        batch.validate(validator)


def test_a_plain_callable_keeps_its_columns(make_photo) -> None:
    photos = photographs(make_photo)
    seen = accentuating(lambda images: images.mean((2, 3)), photos)
    assert seen.site_ids == ("column_0", "column_1", "column_2", "like_000", "like_001")
    assert seen.natural_mean is None
    batch = ascend(seen, stretch(1) + 0.01 * stretch("like_000"), fourier(SHAPE), start=photos[:1], steps=3)
    assert (batch.trace[:, -1] > batch.trace[:, 0]).all()


@pytest.mark.parametrize(
    ("photos", "names", "message"),
    [
        (torch.zeros(3, 28, 28), None, r"photographs of shape \(3, 28, 28\)"),
        (torch.full((1, *SHAPE), 200.0), None, "divide 8-bit pixels by 255"),
        (torch.full((1, *SHAPE), 0.4), None, "features of photograph 0 have the SD "),
        (torch.rand(2, *SHAPE, generator=torch.Generator()), ["a"], "1 names for 2 photographs"),
        (torch.rand(2, *SHAPE, generator=torch.Generator()), ["a", "v4_001"], "used twice or by a site: v4_001"),
        (torch.rand(2, *SHAPE, generator=torch.Generator()), ["a", "a"], "used twice or by a site: a"),
    ],
)
def test_what_cannot_be_a_photograph_is_refused(photos: Tensor, names: list[str] | None, message: str, encoder) -> None:
    with pytest.raises(ValueError, match=message):
        accentuating(encoder, photos, names)


def field(centre: float = 0.0) -> Tensor:
    y, x = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 28)
    return torch.exp(-8 * ((y - centre) ** 2 + x**2)) * ((y - centre) ** 2 + x**2 < 0.6)


def test_a_blend_shows_the_image_where_the_mask_is_one(make_photo, make_generators) -> None:
    images = make_photo((2, *SHAPE))
    for mask in (field(), torch.stack([field(-0.3), field(0.3)])):
        for background in (0.5, images.flip(0)):
            expected = mask.reshape(-1, 1, 28, 28) * images + (1 - mask.reshape(-1, 1, 28, 28)) * background
            assert torch.allclose(blend(images, mask, background), expected, atol=1e-6)
    assert torch.equal(blend(images, torch.ones(28, 28)), images)
    with pytest.raises(ValueError, match="2 masks or backgrounds for 3 images"):
        blend(make_photo((3, *SHAPE)), torch.stack([field(), field()]))
    with pytest.raises(ValueError, match=r"expected \(B, C, H, W\)"):
        blend(images[0], field())


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_stays_within_the_field(channels: int, make_generators, make_encoder) -> None:
    masks = torch.stack([field(-0.3), field(0.3)])
    starts = noise_within(masks, channels, make_generators(2), background=0.25)
    assert starts.shape == (2, channels, 28, 28)
    assert 0 <= starts.min() <= starts.max() <= 1
    outside = (masks == 0)[:, None].expand_as(starts)
    assert (starts[outside] == 0.25).all()
    assert (starts - 0.25)[~outside].std() > 0.03
    alone = noise_within(field(0.3), channels, make_generators(2)[1:], background=0.25)
    assert torch.allclose(alone, starts[1:], atol=1e-6)
    encoder = make_encoder(channels=channels)
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), fourier((channels, 28, 28)), start=starts, steps=3)
    assert (batch.trace[:, -1] > batch.trace[:, 0]).all()
    with pytest.raises(ValueError, match="contrast 0"):
        noise_within(masks, channels, make_generators(2), contrast=0)
