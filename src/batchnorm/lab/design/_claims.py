"""Published claims that studies judge, with their sources."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A published claim.

    Args:
        statement: what the literature says.
        source: where it says so.
    """

    statement: str
    source: str


_PAPER = "Ioffe and Szegedy (2015)"
_SANTURKAR = "Santurkar et al. (2018)"

CLAIMS = {
    "C1": Claim(
        "A network with batch normalization needs fewer training steps to the same accuracy.",
        f"{_PAPER}, section 4.1",
    ),
    "C2": Claim(
        "With batch normalization, learning rates 5 and 30 times higher train without diverging.",
        f"{_PAPER}, section 4.2",
    ),
    "C3": Claim(
        "Networks with saturating nonlinearities, which cannot be trained without it, become "
        "trainable.",
        f"{_PAPER}, section 4.2.2 (BN-x5-Sigmoid)",
    ),
    "C4": Claim(
        "The distribution of the input to a nonlinearity stays more stable during training.",
        f"{_PAPER}, section 4.1, figure 1",
    ),
    "C5": Claim(
        "Batch normalization regularizes: dropout can be reduced or left out.",
        f"{_PAPER}, sections 3.4 and 4.2.1",
    ),
    "C7": Claim(
        "Batch normalization makes a layer indifferent to the scale of its weights: the output and "
        "the gradient of the input stay, the gradient of the weights shrinks as they grow.",
        f"{_PAPER}, section 3.3",
    ),
    "C8": Claim(
        "Batch normalization does not reduce internal covariate shift.",
        f"{_SANTURKAR}, section 2.2, definition 2.1 and figure 3",
    ),
    "C9": Claim(
        "Batch normalization makes the loss smoother: along the gradient, the loss and the "
        "gradient change less.",
        f"{_SANTURKAR}, section 3.1 and figure 4",
    ),
    "C10": Claim(
        "Batch normalization trains as well when noise makes the distribution of activations "
        "unstable on purpose.",
        f"{_SANTURKAR}, section 2.1 and algorithm 1",
    ),
    "C11": Claim(
        "Normalization by the L1, L2 or L-infinity norm does as well as by the standard deviation.",
        f"{_SANTURKAR}, section 3.3",
    ),
    "C12": Claim(
        "Batch normalization gets worse when the mini-batch is small.",
        "Wu and He (2018), figure 1; Ioffe (2017)",
    ),
    "C15": Claim(
        "In a deep chain of linear maps, the parts of one gradient step that grow with powers of "
        "the learning rate outgrow what the gradient promised; batch normalization tames them.",
        "Goodfellow, Bengio and Courville (2016), section 8.7.1",
    ),
    "C16": Claim(
        "Normalization has to be part of what is differentiated: when it is done outside the "
        "gradient step, parameters grow without bound while the loss stands still.",
        f"{_PAPER}, section 2",
    ),
    "C21": Claim(
        "With batch normalization, less care is needed with the initial weights.",
        f"{_PAPER}, sections 1 and 3.3",
    ),
}
