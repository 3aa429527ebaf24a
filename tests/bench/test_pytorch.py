"""PyTorch's rows, where it is installed: the same output and gradients as ours."""

import numpy as np
import pytest

from selfattn_jax.bench import pytorch
from selfattn_jax.bench.contestants import contestants
from selfattn_jax.bench.programs import draw
from tests.bench.fake import settings


@pytest.mark.parametrize("causal", [False, True])
def test_torch_computes_what_dense_computes(causal: bool):
    changed = settings(causal=causal)
    data = draw(changed, 16)
    torch, dense = contestants(["torch", "dense"])
    if not pytorch.installed():  # it is no dependency of the tests: then it must be left out, and why be said
        assert "not installed" in str(torch.absent)
        return
    assert torch.absent is None
    ours = dense.compile("forward_backward", changed, data).call()
    program = torch.compile("forward_backward", changed, data)
    theirs = program.call()
    assert program.seconds is None and program.temporary_bytes is None
    forward = torch.compile("forward", changed, data).call()
    for mine, other in zip((ours[0], ours[0], *ours[1][1:]), (forward, theirs[0].detach(), *theirs[1]), strict=True):
        np.testing.assert_allclose(mine, other.transpose(1, 2).numpy(), atol=1e-5)


def test_a_pytorch_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch):
    def broken(name: str) -> None:
        raise OSError("libtorch.so: no such file")

    monkeypatch.setattr(pytorch, "installed", lambda: True)
    monkeypatch.setattr(pytorch, "import_module", broken)
    assert pytorch.absent() == "PyTorch cannot be imported: libtorch.so: no such file"


@pytest.mark.parametrize(("backend", "why"), [("gpu", "on the CPU alone, JAX on the GPU"), ("tpu", "on the tpu that")])
def test_pytorch_takes_part_on_the_same_device_alone(monkeypatch: pytest.MonkeyPatch, backend: str, why: str):
    class Torch:
        class cuda:  # noqa: N801
            is_available = staticmethod(lambda: False)

    monkeypatch.setattr(pytorch, "installed", lambda: True)
    monkeypatch.setattr(pytorch, "import_module", lambda name: Torch)
    monkeypatch.setattr(pytorch.jax, "default_backend", lambda: backend)
    assert why in str(pytorch.absent())
