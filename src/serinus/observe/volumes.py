"""How full the volumes are, for Prometheus; looked at when it asks."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Volumes(Collector):
    """`serinus_volume_free_bytes` and `serinus_volume_size_bytes` of named folders' volumes."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """`folders`: name (`models`, `data`, `outputs`) -> a folder; one that is not there yet counts as the
        nearest one above it."""
        self._folders = dict(folders)

    def collect(self) -> Iterable[Metric]:
        free = GaugeMetricFamily(
            "serinus_volume_free_bytes", "Free for this process on the volume of a folder.", labels=["volume"]
        )
        size = GaugeMetricFamily(
            "serinus_volume_size_bytes", "Size of the volume of a folder.", labels=["volume"]
        )
        for name, folder in self._folders.items():
            try:
                usage = shutil.disk_usage(_nearest(folder))
            except OSError:
                continue  # no figure is better than a wrong one
            free.add_metric([name], usage.free)
            size.add_metric([name], usage.total)
        yield free
        yield size


def _nearest(folder: Path) -> Path:
    path = folder.absolute()
    return next((each for each in (path, *path.parents) if each.exists()), path)
