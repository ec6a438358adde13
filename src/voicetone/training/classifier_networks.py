"""Training of the baseline networks: Nadam, cross-entropy, best epoch on validation speakers."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from voicetone.errors import DataError
from voicetone.evaluation.metrics import uar
from voicetone.models.cnn import Cnn, CnnConfig
from voicetone.models.lstm import Lstm, LstmConfig
from voicetone.models.mlp import Mlp, MlpConfig
from voicetone.training.balance import class_weights
from voicetone.training.classifier_recipe import NetworkChoice
from voicetone.training.device import device_of_choice
from voicetone.types import Floats

Examples = tuple[Sequence[Floats], NDArray[np.int64]]
_TEST_BATCH = 64


def network(choice: NetworkChoice, inputs: int, classes: int) -> nn.Module:
    """An untrained network."""
    dropout = float(choice.dropout)  # type: ignore[arg-type]  # one value, once it is chosen
    if choice.name == "mlp":
        return Mlp(MlpConfig(inputs, classes, dropout=dropout))
    if choice.name == "cnn":
        return Cnn(CnnConfig(inputs, classes, dropout=dropout))
    return Lstm(LstmConfig(inputs, classes, dropout=dropout))


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and a seeded generator; afterwards all is as it was."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA needs for it
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


def fit(
    choice: NetworkChoice, train: Examples, validation: Examples, classes: int, seed: int
) -> tuple[nn.Module, int]:
    """Train from scratch.

    Args:
        choice: the settings, one value each.
        train: features and labels.
        validation: after each epoch the network is scored on these, if any; the weights of the
            best one are kept (highest UAR; of equal ones the lowest loss, then the first).
        classes: number of classes.
        seed: of the batches; weights and dropout are drawn from torch's generator, see
            `repeatable`.

    Returns:
        The network in evaluation mode, and the epoch that was kept, from 1.

    Raises:
        DataError: the loss is no number.
    """
    rng = np.random.default_rng(seed)
    device = device_of_choice()
    values, truth = train
    net = network(choice, int(values[0].shape[-1]), classes).to(device)
    optimiser = torch.optim.NAdam(net.parameters(), lr=float(choice.rate))  # type: ignore[arg-type]
    weight = None
    if choice.balanced:
        weight = torch.from_numpy(class_weights(truth, classes)).to(device)
    best, best_score, best_epoch = net.state_dict(), (-1.0, 0.0), choice.epochs
    for epoch in range(1, choice.epochs + 1):
        net.train()
        order = rng.permutation(len(values))
        for start in range(0, len(order), choice.batch):
            rows = order[start : start + choice.batch]
            logits = net(*(t.to(device) for t in batch_of([values[i] for i in rows])))
            target = torch.from_numpy(truth[rows]).to(device)
            loss = F.cross_entropy(logits, target, weight=weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if not torch.isfinite(loss):
            raise DataError("the loss is no number; lower the learning rate: model.rate")
        if len(validation[0]):
            score = _score(net, validation)
            if score > best_score:
                best, best_score, best_epoch = copy.deepcopy(net.state_dict()), score, epoch
    if len(validation[0]):
        net.load_state_dict(best)
    return net.cpu().eval(), best_epoch


def _score(net: nn.Module, examples: Examples) -> tuple[float, float]:
    """UAR, and the negative loss to tell equal ones apart."""
    found = probabilities(net, examples[0])
    right = found[np.arange(len(found)), examples[1]]
    return uar(examples[1], found.argmax(axis=1)), float(np.log(right + 1e-12).mean())


@torch.no_grad()
def probabilities(net: nn.Module, values: Sequence[Floats]) -> Floats:
    """What a network says of each utterance, `[n, classes]`, on the device that it is on."""
    net.eval()
    device = next(net.parameters()).device
    out = []
    for start in range(0, len(values), _TEST_BATCH):
        inputs = batch_of(values[start : start + _TEST_BATCH])
        out.append(torch.softmax(net(*(t.to(device) for t in inputs)).double(), dim=1).cpu())
    return np.asarray(torch.cat(out).numpy(), dtype=np.float32)


def batch_of(values: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """`[B, features]`, or `[B, frames, features]` with zeros after the end; and the lengths."""
    if values[0].ndim == 1:
        return torch.from_numpy(np.stack(values)), torch.ones(len(values), dtype=torch.int64)
    lengths = [len(v) for v in values]
    batch = np.zeros((len(values), max(lengths), values[0].shape[1]), dtype=np.float32)
    for row, value in zip(batch, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(batch), torch.tensor(lengths)
