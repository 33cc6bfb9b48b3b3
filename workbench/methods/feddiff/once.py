"""Features that are exchanged once, for owners on machines of their own: what an owner prepares at home, and the rounds after it.

    home = prepared(patches, config, number=0)        # diffusion network and paths are trained here, and stay
    sent = messages_of(home, codec, 64)               # to the other owner, once
    client = Fusion("north", 0, home, rebuilt, classes, config, rounds=10)     # a `workbench.parts.rounds.Client`

`workbench.methods.feddiff.rounds` sends features in every step, because the paths before them are trained with the fusion. Over
processes a message takes seconds. So here an owner trains its paths with a head of its own, and freezes them; then only the shared
weights travel, once in a round.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.data.sensor_patches import Patches
from workbench.errors import InputError
from workbench.methods.feddiff.owners import judged, private_to, weights_of
from workbench.methods.feddiff.settings import Config
from workbench.parts.bank_training import Classifier, Denoiser, class_weights, stacked
from workbench.parts.federation import Codec, Message, State
from workbench.parts.reuse import Branch, Reuse
from workbench.parts.rounds import Update
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import descend, weights


@dataclass(frozen=True)
class Home:
    """What the rounds need of an owner's preparation. features (n, channels, 4, 4): of the training pixels, then of the test pixels.

    label, truth: classes of the training and of the test pixels. pixels (32,): SHA-256 of places and classes, which must be the other
    owner's, too.
    """

    features: Tensor
    label: Tensor
    truth: Tensor
    pixels: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a file."""
        return {name: value.contiguous() for name, value in asdict(self).items()}


def prepared(
    patches: Patches,
    config: Config,
    number: int,
    classes: np.ndarray,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[Home, dict[str, Tensor]]:
    """Train the diffusion network and the paths of one owner at home; what the rounds need, and the weights of the diffusion network.

    patches: of its only sensor. number: 0 or 1. classes: number in the federation of each class of the patches. tell: called with what
    is trained, the step, and the number of steps. Raises InputError for patches of several sensors.
    """
    if len(patches.sensors) != 1:
        raise InputError(
            f"An owner on a machine of its own has one sensor; this one has {', '.join(patches.sensors)}. Choose one by the setting "
            "`sensors` of its node."
        )
    (sensor,) = patches.sensors
    network = Denoiser(patches, {sensor: [sensor]}, config, owner=number)
    for step in range(config.steps):
        network.step()
        tell("diffusion network", step + 1, config.steps)
    place = patches.place[np.concatenate([patches.train, patches.test])]
    bank = network.bank(place)
    cut = len(patches.train)
    paths = Classifier(patches, config, {sensor: bank[sensor][:cut]})
    for step in range(config.head_steps):
        paths.step()
        tell("paths", step + 1, config.head_steps)
    branch = paths.network.eval().branches[0]
    assert isinstance(branch, Branch)
    with torch.no_grad():
        features = branch.split(stacked(patches, place, [sensor]), bank[sensor])
    label = torch.from_numpy(classes[patches.label])
    train, test = label[patches.train], label[patches.test]
    told = np.concatenate([place, np.concatenate([train, test])[:, None]], 1).astype("<i8")
    digest = hashlib.sha256(np.array([cut], "<i8").tobytes() + told.tobytes()).digest()
    home = Home(features, train, test, torch.tensor(list(digest), dtype=torch.uint8))
    return home, weights(network.networks[sensor])


def messages_of(home: Home, codec: Codec, batch: int) -> dict[str, Tensor]:
    """The coded features, `batch` pixels a message, those of training pixels first: NUMBER.PART -> tensor."""
    made: dict[str, Tensor] = {}
    for i, part in enumerate(_batches(home, batch)):
        made |= {f"{i}.{name}": value.contiguous() for name, value in codec.encode(part, i).parts.items()}
    return made


def payload_of(home: Home, codec: Codec, batch: int) -> tuple[int, int]:
    """Bytes of `messages_of` by formula: about training pixels, and about test pixels."""
    sizes = [codec.payload(part.shape) for part in _batches(home, batch)]
    cut = math.ceil(len(home.label) / batch)
    return sum(sizes[:cut]), sum(sizes[cut:])


def _batches(home: Home, batch: int) -> list[Tensor]:
    cut = len(home.label)
    return [*home.features[:cut].split(batch), *home.features[cut:].split(batch)]


def rebuilt(parts: State, home: Home, codec: Codec, batch: int, who: str) -> Tensor:
    """The features in `messages_of` of another owner of the same pixels.

    home: one's own. who: the sender. Raises InputError where they are not features of as many pixels, or are not finite.
    """
    made = []
    try:
        for i, one in enumerate(_batches(home, batch)):
            mine = {name.partition(".")[2]: value for name, value in parts.items() if name.partition(".")[0] == str(i)}
            made.append(codec.decode(Message(mine, tuple(one.shape))))
    except (KeyError, RuntimeError):
        raise InputError(
            f"The features of {who} are not those of {len(home.features)} pixels in messages of {batch} as {codec.kind!r}. Both need the "
            "same plan but for their own node."
        ) from None
    if not torch.isfinite(torch.cat(made)).all():
        raise InputError(f"The features of {who} hold NaN or infinite values.")
    return torch.cat(made)


def fusion(classes: int, seed: int) -> Reuse:
    """The network of the rounds: of its branches only the shared paths are used."""
    with Seeded(seed):
        return Reuse([1, 1], [1, 1], classes)


def common(network: Reuse) -> dict[str, Tensor]:
    """Its shared weights and batch statistics."""
    return {n: v for n, v in weights(network).items() if private_to(n) is None and v.is_floating_point()}


class Fusion:
    """An owner in the rounds: exact features of its own, rebuilt ones of the other; it has no memory between rounds.

    theirs: the other owner's features, in the shape of its own. rounds: of the whole federation, for the learning rate.
    """

    def __init__(
        self, name: str, number: int, home: Home, theirs: Tensor, classes: int, config: Config, rounds: int
    ) -> None:
        self.name, self.number, self.home, self.config, self.rounds = name, number, home, config, rounds
        both = [theirs, home.features] if number else [home.features, theirs]
        cut = len(home.label)
        self.train_on, self.test_on = [f[:cut] for f in both], [f[cut:] for f in both]
        self.network = fusion(classes, config.seed)
        self.weight = class_weights(home.label, classes)

    def train(self, state: State, number: int) -> Update:
        """`average_every` steps of AdamW on all shared weights; `oa`: of the weights that it got, on the test pixels."""
        config, label = self.config, self.home.label
        self.network.load_state_dict(dict(state), strict=False)
        oa = float((self.probabilities().argmax(1) == self.home.truth.numpy()).mean())
        optimiser = torch.optim.AdamW(weights_of(self.network)[0].values(), config.head_lr, weight_decay=1e-4)
        rate, losses = cosine(number - 1, self.rounds, config.head_lr), []
        random = torch.Generator().manual_seed(int(np.random.default_rng([config.seed, number]).integers(2**63)))
        for _ in range(config.average_every):
            rows = torch.randperm(len(label), generator=random)[: config.batch]
            logits = judged(self.network.train(), [f[rows] for f in self.train_on])
            total = torch.stack([F.cross_entropy(one, label[rows], self.weight) for one in logits])
            descend(optimiser, total.sum(), rate)
            losses.append(float(total.detach().mean()))
        return Update(common(self.network), len(label), {"loss": float(np.mean(losses)), "oa": oa})

    @torch.no_grad()
    def probabilities(self) -> np.ndarray:
        """(test pixels, classes): the mean of the heads, by the weights as they are now."""
        logits = judged(self.network.eval(), self.test_on)
        return torch.stack([one.softmax(1) for one in logits]).mean(0).double().numpy()


def parties(homes: Mapping[str, Home], classes: int, config: Config, rounds: int) -> list[Fusion]:
    """The two owners in this process, after their exchange. Raises InputError where they have other pixels."""
    (one, other), codec = homes, Codec(config.codec, config.rank)
    same_pixels({name: home.pixels for name, home in homes.items()})
    made = []
    for i, (name, sender) in enumerate(((one, other), (other, one))):
        theirs = rebuilt(messages_of(homes[sender], codec, config.batch), homes[name], codec, config.batch, sender)
        made.append(Fusion(name, i, homes[name], theirs, classes, config, rounds))
    return made


def same_pixels(pixels: Mapping[str, Tensor]) -> None:
    """Raise InputError unless all owners have the same training and test pixels, with the same classes. pixels: name -> `Home.pixels`."""
    first, *others = pixels
    strange = [name for name in others if not torch.equal(pixels[name], pixels[first])]
    if strange:
        raise InputError(
            f"{first} and {', '.join(strange)} have other training or test pixels, or other classes for them. All need scenes of the "
            "same grid with values at the same pixels, the same labels, and the same settings of the split."
        )
