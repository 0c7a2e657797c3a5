"""BentoML, as many threads as cores: `bentoml serve bentoml_app:Damage`."""

import os
from pathlib import Path

import bentoml
from pipeline import Pipeline


@bentoml.service(threads=int(os.environ["BENCH_THREADS"]), traffic={"timeout": 120})
class Damage:
    def __init__(self) -> None:
        self.run = Pipeline()

    @bentoml.api(route="/predict")
    def predict(self, pre_disaster: Path, post_disaster: Path) -> list:
        return self.run(pre_disaster.read_bytes(), post_disaster.read_bytes())
