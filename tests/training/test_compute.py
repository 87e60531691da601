"""What is computed in, by what the device can do."""

from __future__ import annotations

import pytest
import torch

from provence_rag import InvalidInputError
from provence_training.compute import choose_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(("amx", "avx512"), [(True, False), (False, True), (False, False)])
def test_a_cpu(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert choose_dtype("auto", CPU) == (torch.bfloat16 if amx or avx512 else torch.float32)
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float32", CPU) == torch.float32
    with pytest.raises(InvalidInputError) as raised:
        choose_dtype("float16", CPU)
    assert str(raised.value) == ("precision float16 needs a GPU: choose auto, bfloat16 or float32 on a CPU")


def test_a_torch_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert choose_dtype("auto", CPU) == torch.float32


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((9, 0), torch.bfloat16)])
def test_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_dtype("auto", GPU) == dtype
    assert choose_dtype("float16", GPU) == torch.float16
