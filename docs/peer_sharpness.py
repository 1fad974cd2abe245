"""Two eigenvalues of one Hessian, by PyHessian and by `batchnorm.measure`: the table of `measure`.

``pip install --no-deps --target peers PyHessian``, then ``PYTHONPATH=peers python
docs/peer_sharpness.py``.
"""

import torch
from torch import nn

from batchnorm.measure import Lanczos, sharpness


def main() -> None:
    from pyhessian import hessian

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 4))
    x = torch.randn(512, 20)
    target = (x @ torch.randn(20, 4)).argmax(1)
    model(x)
    model.eval()
    for options in {}, {"tol": 1e-9, "maxIter": 2000}:
        torch.manual_seed(1)
        peer = hessian(model, nn.CrossEntropyLoss(), data=(x, target), cuda=False)
        found = peer.eigenvalues(top_n=2, **options)[0]
        print("PyHessian", options, *(f"{value:.5f}" for value in found))
    loss = nn.functional.cross_entropy
    for each in sharpness(model, [(x, target)], loss, k=2).eigenvalues:
        print(f"sharpness {each.value:.5f} within {each.bound:.5f}")
    exact = sharpness(
        model.double(), [(x.double(), target)], loss, k=2, lanczos=Lanczos(tolerance=1e-9)
    )
    print("float64", *(f"{each.value:.10f}" for each in exact.eigenvalues))


if __name__ == "__main__":
    main()
