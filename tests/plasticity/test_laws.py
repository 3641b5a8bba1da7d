"""Laws of surgery on 200 random architectures. If one breaks, a run changes its network without meaning to."""

import copy
import functools

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from cgap.plasticity import ChannelState, IndexMap, find_spaces, grow, prune, resize_to, surgery  # noqa: E402
from tests.plasticity.architectures import CLASSES, SIZE, Network, images, settled  # noqa: E402

BATCH = 20
BATCHES = 10
TOLERANCE = 1e-9


@pytest.fixture(params=range(BATCHES))
def networks(request):
    """(network, its spaces) for one batch of seeds."""
    seeds = range(request.param * BATCH, (request.param + 1) * BATCH)
    return copy.deepcopy([prepared(seed) for seed in seeds])


@functools.cache
def prepared(seed):
    model = settled(seed)
    return model, spaces_of(model)


def spaces_of(model):
    return find_spaces(model, (3, SIZE, SIZE))


def close(a, b):
    return (a - b).abs().max() <= TOLERANCE * (1 + b.abs().max())


def stepped(model):
    """An optimizer that has momentum for every parameter that the loss reaches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step(model, optimizer)
    return optimizer


def step(model, optimizer, x=None):
    x = images(6) if x is None else x
    optimizer.zero_grad()
    nn.functional.cross_entropy(model.train()(x), torch.arange(len(x)) % CLASSES).backward()
    optimizer.step()
    model.eval()


def grow_all(model, spaces, optimizer=None, policy="pairs"):
    generator = torch.Generator().manual_seed(1)
    for space in spaces.plastic():
        state = ChannelState(torch.rand(space.width), torch.ones(space.width), torch.ones(space.width))
        grow(model, spaces, space.name, 4, state=state, generator=generator, optimizer=optimizer, policy=policy)


def some_kept(space, seed=0):
    """About two thirds of the channels, at least one."""
    order = torch.randperm(space.width, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[: max(1, 2 * space.width // 3)])


def silence(model, spaces, name, channels):
    """Make every consumer of a space ignore these channels."""
    for member in spaces[name].of("consumer"):
        weight = model.get_submodule(member.module).weight.data
        for segment, run in member.entries(spaces.all_widths()):
            if segment.space == name:
                for channel in channels:
                    first = run.start + channel * segment.repeat
                    weight[:, first : first + segment.repeat] = 0


def test_architectures_reach_every_kind_of_space():
    """Laws that hold because nothing is plastic would say nothing."""
    spaces = [space for seed in range(BATCH * BATCHES) for space in spaces_of(Network(seed))]
    assert sum(space.fixed is None for space in spaces) > 600
    assert sum(space.groups > 1 for space in spaces) > 30
    assert sum(any(len(m.segments) > 1 for m in space.of("producer")) for space in spaces if not space.fixed) > 30
    assert sum(any(len(m.segments) > 1 for m in space.of("consumer")) for space in spaces if not space.fixed) > 30
    assert {space.fixed for space in spaces if space.fixed} >= {"input", "output", "constant channel padding"}


def test_every_parameter_axis_is_covered_once(networks):
    for model, spaces in networks:
        seen = set()
        for member in spaces.members():
            module = model.get_submodule(member.module)
            for name, tensor, axis in member.tensors(module):
                assert (member.module, name, axis) not in seen
                seen.add((member.module, name, axis))
                runs = list(member.entries(spaces.all_widths()))
                assert runs[-1][1].stop == tensor.shape[axis]
        expected = {
            (module, name, axis)
            for module, submodule in model.named_modules()
            for name, parameter in submodule.named_parameters(recurse=False)
            for axis in range(min(parameter.dim(), 2))
            if parameter.numel() > 1 and not (axis == 1 and getattr(submodule, "groups", 1) == parameter.shape[0])
        }
        assert {entry for entry in expected if entry[2] == 0} <= seen


@pytest.mark.parametrize("policy", ["pairs", "split"])
@pytest.mark.parametrize("training", [False, True])
def test_growth_keeps_the_logits(networks, training, policy):
    for model, spaces in networks:
        grown = copy.deepcopy(model)
        grow_all(grown, spaces, policy=policy)
        x = images(6)
        with torch.no_grad():
            assert close(grown.train(training)(x), model.train(training)(x))


def test_growing_then_pruning_the_newborns_is_the_identity_bit_for_bit(networks):
    for model, spaces in networks:
        before, widths = copy.deepcopy(model.state_dict()), spaces.widths()
        grow_all(model, spaces)
        assert all(spaces.widths()[name] == width + 4 for name, width in widths.items())
        prune(model, spaces, {name: IndexMap.keep(list(range(width))) for name, width in widths.items()})
        after = model.state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert spaces_of(model).widths() == widths


def test_masked_and_shrunk_networks_agree_in_logits_and_gradients(networks):
    """Pruning a channel that nobody reads changes no logit, and no gradient of what is left."""
    for model, spaces in networks:
        kept = {space.name: some_kept(space) for space in spaces.plastic() if space.of("consumer")}
        masked = copy.deepcopy(model)
        for name, channels in kept.items():
            silence(masked, spaces, name, set(range(spaces[name].width)) - set(channels))
        shrunk, x = copy.deepcopy(masked), images(6)
        own = copy.deepcopy(spaces)
        prune(shrunk, own, {name: IndexMap.keep(channels) for name, channels in kept.items()})
        with torch.no_grad():
            assert close(shrunk(x), masked(x))
        for network in (masked, shrunk):
            network.train()(x).square().sum().backward()
        # The gradients of the masked network, shrunk like its weights, are those of the shrunk one.
        gradients = {name: p.grad for name, p in shrunk.named_parameters() if p.grad is not None}
        with torch.no_grad():
            for parameter in masked.parameters():
                parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        prune(masked, spaces, {name: IndexMap.keep(channels) for name, channels in kept.items()})
        values = dict(masked.named_parameters())
        assert all(close(values[name], gradient) for name, gradient in gradients.items())


def test_permuting_channels_keeps_the_logits(networks):
    for model, spaces in networks:
        x = images(4)
        with torch.no_grad():
            before = model(x)
            for space in spaces.plastic():
                surgery(model, spaces, space.name, IndexMap(tuple(reversed(range(space.width)))))
            assert close(model(x), before)


def test_optimizer_holds_exactly_the_live_parameters(networks):
    for model, spaces in networks:
        optimizer = stepped(model)
        grow_all(model, spaces, optimizer)
        for space in spaces.plastic():
            surgery(model, spaces, space.name, IndexMap.keep(some_kept(space)), optimizer=optimizer)
        held = [p for group in optimizer.param_groups for p in group["params"]]
        live = list(model.parameters())
        assert len(held) == len(live)
        assert {id(p) for p in held} == {id(p) for p in live} >= {id(p) for p in optimizer.state}
        assert all(s["momentum_buffer"].shape == p.shape for p, s in optimizer.state.items())
        step(model, optimizer)


def test_saving_loading_and_a_step_equal_a_step(networks):
    """Through widths, state dict and momentum alone, bit for bit."""
    for model, spaces in networks:
        fresh = copy.deepcopy(model)
        optimizer = stepped(model)
        grow_all(model, spaces, optimizer)
        for space in spaces.plastic():
            surgery(model, spaces, space.name, IndexMap.keep(some_kept(space, 3)), optimizer=optimizer)
        step(model, optimizer)
        momentum = {
            name: optimizer.state[p]["momentum_buffer"].clone()
            for name, p in model.named_parameters()
            if p in optimizer.state
        }
        saved = copy.deepcopy(model.state_dict())
        resize_to(fresh, spaces_of(fresh), spaces.widths())
        fresh.load_state_dict(saved)
        again = torch.optim.SGD(fresh.parameters(), lr=0.01, momentum=0.9)
        for name, parameter in fresh.named_parameters():
            if name in momentum:
                again.state[parameter]["momentum_buffer"] = momentum[name]
        x = images(6)
        step(model, optimizer, x)
        step(fresh, again, x)
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True)
        )
