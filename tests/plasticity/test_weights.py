"""If these break, pruned weights come back, masks fall off their weights, or the wrong filters go first."""

import copy

import pytest

torch = pytest.importorskip("torch")

from cgap.plasticity import (  # noqa: E402
    ChannelState,
    IndexMap,
    apply_masks,
    emptied,
    find_spaces,
    grow,
    new_masks,
    prune,
    prune_weights,
)
from tests.plasticity.architectures import SIZE, settled  # noqa: E402


def masked(seed, share=0.6):
    """A random network with masked weights: (network, its spaces, masks)."""
    model = settled(seed)
    spaces = find_spaces(model, (3, SIZE, SIZE))
    masks = new_masks(model, spaces)
    prune_weights(model, masks, share)
    return model, spaces, masks


def test_the_smallest_weights_of_all_filters_go():
    model, _, masks = masked(3)
    fresh = dict(settled(3).named_parameters())
    gone = torch.cat([fresh[path].abs()[~mask] for path, mask in masks.items()])
    left = torch.cat([fresh[path].abs()[mask] for path, mask in masks.items()])
    assert len(gone) == int(0.6 * (len(gone) + len(left)))
    assert gone.max() <= left.min()
    assert all(not model.get_parameter(path)[~mask].any() for path, mask in masks.items())
    prune_weights(model, masks, 0.7)
    again = sum(int((~mask).sum()) for mask in masks.values())
    assert again == int(0.7 * (len(gone) + len(left)))


@pytest.mark.parametrize("seed", range(0, 200, 8))
def test_masks_follow_surgery(seed):
    """Masking and then pruning is pruning and then masking, bit for bit, and newborns begin unmasked."""
    model, spaces, masks = masked(seed)
    generator = torch.Generator().manual_seed(0)
    for space in spaces.plastic():
        state = ChannelState(torch.rand(space.width), torch.ones(space.width), torch.ones(space.width))
        grow(model, spaces, space.name, 2, state=state, generator=generator, masks=masks)
    assert all(mask.shape == model.get_parameter(path).shape for path, mask in masks.items())
    for space in spaces.plastic():
        for member in space.of("producer"):
            mask = masks[f"{member.module}.weight"]
            for segment, run in member.entries(spaces.all_widths()):
                if segment.space == space.name:
                    assert mask[run.stop - 2 * segment.repeat : run.stop].all()
    before = copy.deepcopy(model)
    apply_masks(model, masks)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))
    keep = {s.name: IndexMap.keep(list(range(0, s.width, 2))) for s in spaces.plastic()}
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.normal_()
    late, own, theirs = copy.deepcopy(before), copy.deepcopy(spaces), dict(masks)
    apply_masks(before, masks)
    prune(before, spaces, keep)
    prune(late, own, keep, masks=theirs)
    apply_masks(late, theirs)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), late.parameters(), strict=True))


def test_filters_that_are_mostly_gone_are_found(resnet):
    model, spaces = resnet
    masks = new_masks(model, spaces)
    masks["stage2.0.conv1.weight"][3].flatten()[:50] = False
    masks["stem.conv.weight"][1] = False
    found = emptied(spaces, masks, 0.6)
    assert found["stage2.0.conv1"].nonzero().flatten().tolist() == [3]
    assert not found["stem.conv"].any(), "its other producers are whole"
    assert not emptied(spaces, masks, 0.8)["stage2.0.conv1"].any()
    assert not any(each.any() for name, each in found.items() if name != "stage2.0.conv1")
