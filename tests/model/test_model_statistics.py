"""One clock for recordings with gaps, and what a memory starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgevad.model.autoencoder import Representation
from edgevad.model.cache import SEPARATE_S, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.memory import RecurrenceMemory
from edgevad.model.statistics import recording_statistics

MODEL = ModelConfig(size_px=16, width=4, depth=2, latent=5, cell_px=4, motion="none")


def cache_of(seconds: list[float], segment: list[int]) -> FrameCache:
    images = np.zeros((len(seconds), 16, 16, 3), np.uint8)
    stamps = np.round(np.array(seconds) * 1e9).astype(np.int64)
    return FrameCache(images, None, stamps, np.array(segment, np.int32), 0)


def test_a_gap_lasts_as_long_as_it_did() -> None:
    cache = cache_of([0.0, 0.1, 1.3, 1.4, 11.4], [0, 0, 1, 1, 2])
    assert np.round(cache.elapsed_s(), 9).tolist() == [0.0, 0.1, 1.3, 1.4, 11.4]


def test_a_long_gap_counts_as_another_time_and_no_more() -> None:
    cache = cache_of([0.0, 0.1, 5000.0, 5000.1], [0, 0, 1, 1])
    assert np.round(cache.elapsed_s(), 9).tolist() == [0.0, 0.1, 0.1 + SEPARATE_S, 0.2 + SEPARATE_S]


def test_a_clock_that_starts_anew_is_another_recording() -> None:
    cache = cache_of([0.0, 0.1, 0.0, 0.1], [0, 0, 1, 1])
    assert np.round(cache.elapsed_s(), 9).tolist() == [0.0, 0.1, 0.1 + SEPARATE_S, 0.2 + SEPARATE_S]


def test_within_a_segment_time_never_runs_back() -> None:
    cache = cache_of([0.0, 0.2, 0.1, 0.3], [0, 0, 0, 0])
    assert (np.diff(cache.elapsed_s()) >= 0).all()


@pytest.fixture
def noise() -> FrameCache:
    """A hundred frames of noise whose upper left quarter varies most, from pixel to pixel and from block to block."""
    rng = np.random.default_rng(0)
    images = rng.normal(128, 20, (100, 16, 16, 3)) + rng.normal(0, 20, (100, 8, 8, 1)).repeat(2, 1).repeat(2, 2)
    images[:, :8, :8] += rng.normal(0, 25, (100, 1, 1, 1))
    stamps = np.arange(100, dtype=np.int64) * 10**9
    return FrameCache(np.clip(images, 0, 255).astype(np.uint8), None, stamps, np.zeros(100, np.int32), 0)


@pytest.mark.parametrize("appearance", ["log", "color"])
@torch.no_grad()
def test_a_memory_starts_from_the_principal_directions_of_the_frames_it_keeps(
    noise: FrameCache, appearance: str
) -> None:
    config = replace(MODEL, appearance=appearance, halve_memory_above_px=8)
    representation = Representation(config)
    mean_frame, templates = recording_statistics(noise, representation, 5).remembered
    x = representation(torch.from_numpy(noise.images)).double()
    small = torch.stack([x[..., i::2, j::2] for i in range(2) for j in range(2)]).mean(dim=0)
    assert mean_frame.shape == (config.channels, 8, 8)
    torch.testing.assert_close(mean_frame.double(), small.mean(dim=0), rtol=1e-4, atol=1e-5)
    _, s, v = torch.linalg.svd((small - small.mean(dim=0)).flatten(1), full_matrices=False)
    ours = templates.double() / templates.double().norm(dim=1, keepdim=True)
    torch.testing.assert_close(ours @ ours.T, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-4)
    assert (ours[0] @ v[0]).abs() > 0.999
    torch.testing.assert_close(templates.double().norm(dim=1)[0], s[0] / 10.0, rtol=1e-3, atol=0)
    # The memory's own convention: squared distances of coordinates are mean squared differences per value.
    memory = RecurrenceMemory(config)
    memory.learn(mean_frame, templates)
    recalled = memory.frames(memory.coordinates(x.float()))
    squared = (recalled[0] - recalled[1:]).square().mean(dim=1)
    own = memory.coordinates(x.float())
    torch.testing.assert_close((own[0] - own[1:]).square().sum(dim=1), squared, rtol=1e-3, atol=1e-5)


def test_small_frames_are_remembered_by_what_the_network_starts_from(noise: FrameCache) -> None:
    statistics = recording_statistics(noise, Representation(MODEL), 5)
    mean_frame, templates = statistics.remembered
    assert mean_frame is statistics.mean_frame
    assert templates is statistics.templates
    halved = recording_statistics(noise, Representation(replace(MODEL, halve_memory_above_px=8)), 5)
    # Only the memory is another: the network, its target and the rule of the camera see what they saw.
    assert torch.equal(halved.mean_frame, statistics.mean_frame)
    assert torch.equal(halved.templates, statistics.templates)
    assert (halved.variance, halved.template_share) == (statistics.variance, statistics.template_share)
    assert halved.recurrence == statistics.recurrence
