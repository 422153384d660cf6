"""What recurs, in closed forms and against the definition, loop by loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgevad.model.config import ModelConfig
from edgevad.model.memory import EXCLUDED, NEIGHBOURS, RecurrenceMemory
from edgevad.model.scoring import local_errors

CONFIG = ModelConfig(size_px=16, width=4, depth=2, latent=6, cell_px=4)
VALUES = 16 * 16
LARGE = replace(CONFIG, size_px=32, cell_px=8, halve_memory_above_px=16)  # remembered at 16 px, in cells of 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def memory() -> RecurrenceMemory:
    return memory_of(CONFIG)


def memory_of(config: ModelConfig) -> RecurrenceMemory:
    """Six random orthogonal directions of different lengths, about a random mean frame."""
    made = RecurrenceMemory(config)
    directions, _ = torch.linalg.qr(torch.randn(VALUES, 6, generator=seeded()))
    made.learn(torch.randn(1, 16, 16, generator=seeded(1)), directions.T * torch.linspace(9.0, 0.1, 6)[:, None])
    return made


def bank_of(coordinates: torch.Tensor) -> torch.Tensor:
    """(E, m, d) -> (E, m, d + 1), every entry usable."""
    return torch.cat([coordinates, coordinates.square().sum(dim=2, keepdim=True)], dim=2)


def padded(bank: torch.Tensor, unusable: torch.Tensor) -> torch.Tensor:
    """The bank with padding where `unusable` (E, m)."""
    padding = torch.zeros_like(bank)
    padding[..., -1] = EXCLUDED
    return torch.where(unusable[..., None], padding, bank)


def frames_of(memory: RecurrenceMemory, coordinates: torch.Tensor) -> torch.Tensor:
    return memory.frames(coordinates).reshape(-1, 1, 16, 16)


def remember_rank(memory: RecurrenceMemory, rank: int) -> None:
    memory.rank.zero_()
    memory.rank[rank] = 1.0


def naive(
    memory: RecurrenceMemory, x: torch.Tensor, bank: torch.Tensor, excluded: torch.Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """View and local errors by the definition, frame by frame, in double precision; as many episodes as can be used."""
    templates, mean = memory.templates.double().numpy(), memory.mean_frame.double().numpy()
    rank = int(memory.rank.argmax())
    views, details = [], []
    for n, frame in enumerate(x.double().numpy().reshape(len(x), -1)):
        own = templates @ (frame - mean) / VALUES
        nearest = []
        for episode in range(bank.shape[0]):
            best = None
            for entry in range(bank.shape[1]):
                row = bank[episode, entry].double().numpy()
                if row[-1] >= EXCLUDED or (excluded is not None and bool(excluded[n, episode, entry])):
                    continue
                distance = float(np.square(row[:-1] - own).sum())
                if best is None or distance < best[0]:
                    best = (distance, row[:-1])
            if best is not None:
                nearest.append(best)
        nearest = sorted(nearest, key=lambda found: found[0])[:NEIGHBOURS]
        views.append(nearest[rank][0] ** 0.5)
        errors = [np.square(frame - (found @ templates + mean)).reshape(16, 16) for _, found in nearest]
        steps = range(0, 16 - 4 + 1, 2)
        details.append([[min(error[i : i + 4, j : j + 4].mean() for error in errors) for j in steps] for i in steps])
    return np.array(views), np.array(details)


def test_templates_are_orthogonal_and_turn_distances_into_mean_squares(memory: RecurrenceMemory) -> None:
    product = memory.templates @ memory.templates.T / VALUES
    torch.testing.assert_close(product, torch.eye(6), atol=1e-5, rtol=0)
    a, b = torch.randn(2, 4, 6, generator=seeded(2))
    x, y = frames_of(memory, a), frames_of(memory, b)
    torch.testing.assert_close(memory.coordinates(x), a, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((a - b).square().sum(dim=1), (x - y).square().mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_fewer_directions_than_coordinates_leave_the_rest_at_zero(memory: RecurrenceMemory) -> None:
    memory.learn(torch.zeros(1, 16, 16), torch.cat([torch.ones(1, VALUES), torch.zeros(1, VALUES)]))
    assert memory.templates[0].tolist() == [1.0] * VALUES
    # A recording that does not vary has directions of length 0, and nothing may come of dividing by it.
    assert not memory.templates[1:].any()


def test_an_identical_entry_leaves_nothing_to_explain(memory: RecurrenceMemory) -> None:
    coordinates = 3.0 * torch.randn(6, 4, 6, generator=seeded(3))
    seen = frames_of(memory, coordinates[[0, 2, 5], [1, 3, 0]])
    view, detail = memory(seen, bank_of(coordinates))
    assert detail.shape == (3, 7, 7)
    assert view.abs().max() < 1e-4
    assert detail.abs().max() < 1e-8


def test_what_is_met_again_is_at_distance_zero_however_bright(memory: RecurrenceMemory) -> None:
    # In float32, |a|^2 + |b|^2 - 2ab of such coordinates is off by more than a typical distance.
    coordinates = 250.0 + torch.randn(5, 3, 6, generator=seeded(4))
    squared, chosen = memory.nearest(coordinates[2, 1:2], bank_of(coordinates))
    assert squared[0, 0] == 0.0
    assert chosen[0, 0].tolist() == coordinates[2, 1].tolist()


@pytest.mark.parametrize("rank", range(NEIGHBOURS))
def test_view_is_the_distance_to_the_episode_of_its_rank(memory: RecurrenceMemory, rank: int) -> None:
    # One coordinate is looked along: six episodes, out of order, each with a second entry that is further off.
    near = torch.tensor([3.0, 1.0, 5.0, 2.0, 9.0, 4.0])
    coordinates = torch.zeros(6, 2, 6)
    coordinates[:, 0, 0], coordinates[:, 1, 0] = near, near + 20.0
    remember_rank(memory, rank)
    view, _ = memory(frames_of(memory, torch.zeros(1, 6)), bank_of(coordinates))
    assert view.tolist() == pytest.approx([[1.0, 2.0, 3.0, 4.0, 5.0][rank]], rel=1e-5)


def test_several_entries_of_one_episode_are_one_recurrence(memory: RecurrenceMemory) -> None:
    remember_rank(memory, 1)
    coordinates = torch.full((5, 3, 6), 2.0)
    coordinates[0] = 0.0  # an anomaly lasts: all of one episode looks like the frame
    view, _ = memory(frames_of(memory, torch.zeros(1, 6)), bank_of(coordinates))
    assert view.tolist() == pytest.approx([24.0**0.5], rel=1e-5)


def test_every_spot_may_be_explained_by_another_episode() -> None:
    memory = RecurrenceMemory(CONFIG)
    sides = torch.zeros(2, 16, 16)
    sides[0, :, :6] = sides[1, :, 10:] = 1.0  # a cell's width apart, so that no cell sees both
    memory.learn(torch.zeros(1, 16, 16), sides.flatten(1))
    left, right = torch.eye(6)[:2]
    episodes = torch.stack([left, right, *torch.zeros(3, 6)])[:, None]
    both = frames_of(memory, left + right)
    view, detail = memory(both, bank_of(episodes))
    assert view.item() == pytest.approx(1.0)
    assert detail.max().item() == pytest.approx(0.0, abs=1e-6)
    # What only one episode knew is not explained when that one does not count.
    without = torch.zeros(1, 5, 1, dtype=torch.bool)
    without[0, 0] = True
    _, detail = memory(both, bank_of(episodes), without)
    assert detail[0, :, 4:].max().item() == pytest.approx(0.0, abs=1e-6)
    assert detail[0, :, :2].min().item() == pytest.approx(VALUES / 96)


def test_excluded_entries_neither_count_nor_explain(memory: RecurrenceMemory) -> None:
    coordinates = torch.randn(7, 3, 6, generator=seeded(5))
    x = frames_of(memory, coordinates[1:3, 1]) + 0.1 * torch.randn(2, 1, 16, 16, generator=seeded(6))
    bank = bank_of(coordinates)
    excluded = torch.zeros(2, 7, 3, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 2, 1] = True  # of the first frame a whole episode, of the second one entry
    view, detail = memory(x, bank, excluded)
    free_view, free_detail = memory(x, bank)
    assert (view > free_view + 0.5).all()
    assert (detail.amax(dim=(1, 2)) > free_detail.amax(dim=(1, 2))).all()
    for n in range(2):
        expected_view, expected_detail = memory(x[n : n + 1], padded(bank, excluded[n]))
        torch.testing.assert_close(view[n : n + 1], expected_view, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(detail[n : n + 1], expected_detail, rtol=1e-5, atol=1e-6)


def test_padding_is_never_the_nearest_although_it_looks_like_the_mean_frame(memory: RecurrenceMemory) -> None:
    # Padding holds zeros, the coordinates of exactly this frame, and there is nothing else to fill five places with.
    mean = frames_of(memory, torch.zeros(1, 6))
    coordinates = torch.zeros(5, 2, 6)
    coordinates[1, 0, 0] = 30.0
    only = torch.ones(5, 2, dtype=torch.bool)
    only[1, 0] = False
    view, detail = memory(mean, padded(bank_of(coordinates), only))
    assert view.item() == pytest.approx(30.0, rel=1e-5)
    expected_view, expected_detail = naive(memory, mean, padded(bank_of(coordinates), only), None)
    assert view.numpy() == pytest.approx(expected_view, rel=1e-5)
    np.testing.assert_allclose(detail.numpy(), expected_detail, rtol=1e-4)
    assert detail.max() > 100


def test_a_rank_beyond_what_can_be_used_is_far_out_and_a_number(memory: RecurrenceMemory) -> None:
    remember_rank(memory, 4)
    coordinates = torch.randn(5, 2, 6, generator=seeded(7))
    unusable = torch.zeros(5, 2, dtype=torch.bool)
    unusable[3] = True
    view, detail = memory(frames_of(memory, coordinates[0, :1]), padded(bank_of(coordinates), unusable))
    assert view.item() == pytest.approx(EXCLUDED**0.5, rel=1e-3)
    assert torch.isfinite(detail).all()
    nothing = torch.ones(5, 2, dtype=torch.bool)
    view, detail = memory(frames_of(memory, coordinates[0, :1]), padded(bank_of(coordinates), nothing))
    assert view.item() == pytest.approx(EXCLUDED**0.5, rel=1e-3)
    assert detail.min() >= EXCLUDED


def enlarged(frames: torch.Tensor) -> torch.Tensor:
    """Each pixel as four: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return frames.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_large_frames_have_small_templates_and_the_cells_of_their_own_size() -> None:
    large = memory_of(LARGE)
    assert (large.mean_frame.shape, large.templates.shape) == ((VALUES,), (6, VALUES))
    coordinates = torch.randn(7, 2, 6, generator=seeded(12))
    x = torch.randn(3, 1, 32, 32, generator=seeded(13))
    view, detail = large(x, bank_of(coordinates))
    assert view.shape == (3,)
    assert detail.shape == local_errors(x, x, LARGE.cell_px).shape == (3, 7, 7)
    # What differs within four pixels is not remembered, and does not make a frame odd.
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(16, 16)
    again = large(x + checks, bank_of(coordinates))
    torch.testing.assert_close(again, (view, detail), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("excluding", [False, True])
def test_large_frames_are_compared_by_the_means_of_four_pixels(excluding: bool) -> None:
    large = memory_of(LARGE)
    remember_rank(large, 1)
    bank = padded(bank_of(2.0 * torch.randn(9, 5, 6, generator=seeded(8))), torch.rand(9, 5, generator=seeded(9)) < 0.2)
    excluded = torch.rand(6, 9, 5, generator=seeded(11)) < 0.4 if excluding else None
    x = torch.randn(6, 1, 32, 32, generator=seeded(10))
    means = torch.stack([x[..., i::2, j::2] for i in range(2) for j in range(2)]).mean(dim=0)
    view, detail = large(x, bank, excluded)
    expected_view, expected_detail = naive(large, means, bank, excluded)
    np.testing.assert_allclose(view.numpy(), expected_view, rtol=1e-4)
    np.testing.assert_allclose(detail.numpy(), expected_detail, rtol=1e-4)


def test_a_frame_of_equal_blocks_is_what_its_small_one_is() -> None:
    large, small = memory_of(LARGE), memory_of(CONFIG)
    x = torch.randn(4, 1, 16, 16, generator=seeded(14))
    bank = bank_of(torch.randn(6, 3, 6, generator=seeded(15)))
    assert torch.equal(small.remembered(x), x)
    torch.testing.assert_close(large.coordinates(enlarged(x)), small.coordinates(x))
    torch.testing.assert_close(large(enlarged(x), bank), small(x, bank))


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("excluding", [False, True])
def test_agrees_with_the_definition(memory: RecurrenceMemory, rank: int, excluding: bool) -> None:
    remember_rank(memory, rank)
    coordinates = 2.0 * torch.randn(9, 5, 6, generator=seeded(8))
    bank = padded(bank_of(coordinates), torch.rand(9, 5, generator=seeded(9)) < 0.2)
    x = torch.randn(6, 1, 16, 16, generator=seeded(10))
    excluded = torch.rand(6, 9, 5, generator=seeded(11)) < 0.4 if excluding else None
    view, detail = memory(x, bank, excluded)
    expected_view, expected_detail = naive(memory, x, bank, excluded)
    np.testing.assert_allclose(view.numpy(), expected_view, rtol=1e-4)
    np.testing.assert_allclose(detail.numpy(), expected_detail, rtol=1e-4)
