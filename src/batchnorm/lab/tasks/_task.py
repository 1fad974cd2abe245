"""Task: training data, test data, loss and accuracy."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """A task, split once and for all: classes to tell apart, or values to predict.

    Args:
        name: what the command line calls it.
        title: what a reader calls it.
        preparation: how the inputs came about, in words.
        outputs: number of classes, or of values.
        shape: shape of one example, such as ``(1, 28, 28)`` for a grey image.
        train_x: training inputs ``(N, features)``, float32; a user's own as they come.
        train_y: training labels ``(N,)``, int64, or values ``(N, outputs)``, float32.
        test_x: test inputs ``(M, features)``, float32.
        test_y: what belongs to them.
    """

    name: str
    title: str
    preparation: str
    outputs: int
    shape: tuple[int, ...]
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def features(self) -> int:
        """Number of inputs of each example."""
        return self.train_x.shape[1]

    @property
    def has_classes(self) -> bool:
        """Whether there are classes to tell apart."""
        return not self.train_y.is_floating_point()

    @property
    def chance(self) -> float | None:
        """Accuracy of a guess, or `None` where there are no classes."""
        return 1 / self.outputs if self.has_classes else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits, or the mean squared error of values."""
        if self.has_classes:
            return F.cross_entropy(outputs, targets)
        return F.mse_loss(outputs, targets)

    def accuracy(self, outputs: Tensor, targets: Tensor) -> float | None:
        """Return the share of right answers, or `None` where there are no classes."""
        if not self.has_classes:
            return None
        right = (outputs.argmax(1) == targets).sum().item()
        return right / targets.numel()

    def describe(self) -> str:
        """Return one sentence for the reader of a report."""
        if not len(self.train_x):
            return f"{self.title}: {self.preparation}"
        kind = "classes" if self.has_classes else "values to predict"
        return (
            f"{self.title}: {len(self.train_x):,} training and {len(self.test_x):,} test "
            f"{'images' if len(self.shape) > 1 else 'examples'}, {self.features} inputs, "
            f"{self.outputs} {kind}; {self.preparation}"
        )

    def digest(self) -> str:
        """Return a fingerprint of the data, so that a resumed run can tell that they changed."""
        content = hashlib.sha256()
        for tensor in (self.train_x, self.train_y, self.test_x, self.test_y):
            content.update(tensor.cpu().numpy().tobytes())
        return content.hexdigest()[:16]

    def to(self, device: torch.device) -> "Task":
        """Return the task with its tensors on `device`."""
        return replace(
            self,
            train_x=self.train_x.to(device),
            train_y=self.train_y.to(device),
            test_x=self.test_x.to(device),
            test_y=self.test_y.to(device),
        )
