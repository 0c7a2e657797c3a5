"""Which device runs the models, decided before anything is loaded."""

import logging
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files

from serinus.bootstrap.settings import Settings, WrongSettings
from serinus.core.enums import Device
from serinus.engine.device import Finding, look

log = logging.getLogger(__name__)

_PACKAGE = "onnxruntime-gpu"


def device_of(settings: Settings) -> Device:
    """What DEVICE comes to on this machine. Raises WrongSettings when it asks for what is not here."""
    if settings.device == "cpu" or (settings.device == "auto" and not _installed()):
        return Device.CPU
    with as_file(files("serinus") / "base" / "model.onnx") as model:
        found = look(model)
    if found.works:
        return Device.CUDA
    if settings.device == "auto":
        log.warning("%s is installed but cannot be used; models run on the CPU: %s", _PACKAGE, found.cause)
        return Device.CPU
    raise refusal(found)


def refusal(found: Finding) -> WrongSettings:
    """Whose fault it is, and what to do."""
    if found.providers and not found.built_for_cuda:
        offered = ", ".join(name.removesuffix("ExecutionProvider") for name in found.providers)
        return WrongSettings(
            f"DEVICE is cuda, but the ONNX Runtime {found.runtime} that is installed here was built without "
            f"it; it offers {offered}.",
            remedy=f"Put {_PACKAGE} in its place (`pip uninstall onnxruntime`, then `pip install {_PACKAGE}`)"
            ", or say DEVICE=cpu.",
        )
    return WrongSettings(
        f"DEVICE is cuda, but ONNX Runtime cannot use a GPU here: {found.cause or 'it does not say why'}.",
        remedy="Look whether `nvidia-smi` shows a GPU, and whether the CUDA and cuDNN libraries that "
        f"{_PACKAGE} wants are installed (`pip install '{_PACKAGE}[cuda,cudnn]'`), or say DEVICE=cpu.",
    )


def _installed() -> bool:
    try:
        version(_PACKAGE)
    except PackageNotFoundError:
        return False
    return True
