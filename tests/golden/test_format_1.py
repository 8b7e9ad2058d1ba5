"""A run directory of format 1, as version 0.1.0 wrote it, goes on being read, scored, sampled and resumed."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch

import cpixelcnn

ARCHIVE = Path(__file__).parent / "format-1-run.tar.gz"
IMAGES = torch.arange(4 * 3 * 8 * 8).mul(37).remainder(256).to(torch.uint8).view(4, 3, 8, 8)
LOG_PROBS = {
    True: [-1231.352162361145, -1196.1611728668213, -1194.2186393737793, -1197.1894998550415],  # the moving average
    False: [-1221.3075456619263, -1191.7530479431152, -1207.1247720718384, -1214.327169418335],
}
BITS_PER_DIM_OF_TINY = 2.727807895821505  # of the first 96 test images of the embedded set


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("where", [".", "last", "checkpoints/step-00000010"])
def test_log_likelihoods_are_what_they_were(run: Path, where: str, ema: bool) -> None:
    model = cpixelcnn.load(run / where, ema=ema)
    log_probs = model.log_prob(IMAGES, torch.arange(4))
    torch.testing.assert_close(log_probs, torch.tensor(LOG_PROBS[ema], dtype=torch.float64), rtol=0, atol=1e-3)


def test_it_can_be_resumed(run: Path) -> None:
    config = cpixelcnn.RunConfig.from_json(json.loads((run / "config.json").read_text()))
    sets = [cpixelcnn.load_split(config.data, split) for split in ("train", "validation")]
    train = cpixelcnn.TrainConfig.from_json({**config.train.to_json(), "epochs": 3})
    longer = cpixelcnn.RunConfig(config.model, config.data, train)
    result = cpixelcnn.train(longer, *sets, run, resume=run, device="cpu")
    assert result.finished
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_shipped_model_is_what_it_was() -> None:
    test_set = cpixelcnn.load_split(cpixelcnn.DataConfig(), "test")
    density = cpixelcnn.bits_per_dim(cpixelcnn.load("tiny"), test_set.images[:96], test_set.labels[:96])
    assert density.bpd == pytest.approx(BITS_PER_DIM_OF_TINY, abs=1e-6)
