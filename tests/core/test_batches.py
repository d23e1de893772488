"""The order of batches."""

import numpy as np
import pytest

from core import batches


@pytest.mark.parametrize("samples, size, ranks", [(61, 8, 1), (61, 8, 2), (64, 8, 2), (5, 8, 2), (61, 4, 3)])
def test_training_batches_cover_every_sample_and_ranks_agree(samples, size, ranks):
    lengths = np.random.default_rng(0).integers(3, 40, samples)
    make = lambda rank: batches.LengthGroupedBatchSampler(lengths, size, seed=7, num_replicas=ranks, rank=rank)  # noqa: E731
    of_rank = [list(make(rank)) for rank in range(ranks)]
    assert len({len(rank_batches) for rank_batches in of_rank}) == 1 and len(of_rank[0]) == len(make(0))
    seen = [index for rank_batches in of_rank for batch in rank_batches for index in batch]
    assert set(seen) == set(range(samples)) and len(seen) - samples < ranks
    assert all(len(batch) == len(other) for step in zip(*of_rank) for batch, other in [(step[0], step[-1])])


def test_training_order_depends_on_seed_and_epoch_alone():
    lengths = np.arange(100) % 17
    sampler = batches.LengthGroupedBatchSampler(lengths, 8, seed=1)
    first = list(sampler)
    assert first == list(batches.LengthGroupedBatchSampler(lengths, 8, seed=1))
    assert first != list(batches.LengthGroupedBatchSampler(lengths, 8, seed=2))
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_grouping_cuts_the_padding():
    rng = np.random.default_rng(0)
    lengths = np.minimum(128, 5 + rng.exponential(12, 5000)).astype(int)

    def padded(group):
        return sum(
            lengths[batch].max() * len(batch)
            for batch in batches.LengthGroupedBatchSampler(lengths, 32, seed=0, group=group)
        )

    assert padded(True) < 1.1 * lengths.sum() and padded(False) > 2 * lengths.sum()


def test_drop_last():
    sampler = batches.LengthGroupedBatchSampler(np.arange(61), 8, seed=0, drop_last=True)
    assert [len(batch) for batch in sampler] == [8] * 7 and len(sampler) == 7


@pytest.mark.parametrize("samples, size, ranks", [(61, 8, 1), (61, 8, 2), (37, 8, 2), (5, 4, 3), (1, 8, 2)])
def test_evaluation_order_joined_over_ranks_is_the_sorted_order(samples, size, ranks):
    lengths = np.random.default_rng(0).integers(3, 40, samples)
    samplers = [batches.LengthSortedBatchSampler(lengths, size, ranks, rank) for rank in range(ranks)]
    joined = [index for step in zip(*samplers) for batch in step for index in batch]
    assert joined[:samples] == samplers[0].order.tolist()
    assert sorted(joined[:samples]) == list(range(samples))
    assert len({len(list(sampler)) for sampler in samplers}) == 1


def windows_dataset(counts):
    """Texts of so many windows of 4 tokens each."""

    def encode(texts):
        features = []
        for text, count in zip(texts, counts):
            rows = [{"input_ids": [1, int(text), place + 10, 2]} for place in range(count)]
            features.append({**rows[0], "windows": rows, "spans": None} if count > 1 else rows[0])
        return features

    return batches.TextDataset([str(number) for number in range(3, 3 + len(counts))], [0] * len(counts), encode)


def test_windows_of_a_training_are_drawn_anew_in_each_epoch():
    dataset = windows_dataset([1, 3, 30])
    assert dataset.lengths.tolist() == [4, 12, 120] and len(dataset[2]["windows"]) == 30
    dataset.limit_windows(3, seed=7)
    assert dataset.lengths.tolist() == [4, 12, 12] and dataset[0] is dataset.features[0]
    assert dataset[1]["windows"] == dataset.features[1]["windows"]
    sampler = dataset.order = batches.LengthGroupedBatchSampler(dataset.lengths, 2, seed=7)
    seen = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        places = [row["input_ids"][2] for row in dataset[2]["windows"]]
        assert places == sorted(set(places)) and len(places) == 3 and dataset[2]["labels"] == 0
        seen.append(places)
    assert seen[0] == seen[2] != seen[1]
    dataset.limit_windows(3, seed=8)
    assert [row["input_ids"][2] for row in dataset[2]["windows"]] != seen[0]


def test_a_batch_of_windows(tiny_model):
    from core.loading import load_config_and_tokenizer

    collate = batches.make_collator(load_config_and_tokenizer(str(tiny_model))[1])
    dataset = windows_dataset([1, 3])
    batch = collate([dataset[0], dataset[1]])
    assert batch["input_ids"].shape == (2, 3, 4) and batch["labels"].tolist() == [0, 0]
    assert batch["input_ids"][0].tolist() == [[1, 3, 10, 2], [0] * 4, [0] * 4]
    assert batch["input_ids"][1, :, 2].tolist() == [10, 11, 12]
    assert collate([dataset[0]])["input_ids"].shape == (1, 4)
