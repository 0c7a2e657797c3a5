"""Every setting, once: a name, a default, a unit, a docstring.

A setting is an environment variable of the same name in capitals (`WINDOW_SECONDS=30`) and, where a command
has it, a flag of the same name (`--window-seconds 30`). `serinus settings` prints them; docs/settings.md is
generated from them. Rooms never read settings: the wiring modules hand them values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serinus.core.errors import Misconfigured
from serinus.engine.limits import Limits
from serinus.rollout.policy import DEFAULT, OnInsufficient, OnNewVersion, Policy

MEGABYTE = 1_000_000


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Settings of every Serinus process, read from the environment."""

    model_config = SettingsConfigDict(
        case_sensitive=False, frozen=True, use_attribute_docstrings=True, env_ignore_empty=True
    )

    # Where things are
    model_dir: Path = Path("models")
    """The store: versions, journal, evidence, golden sets; and the views `current/` and `canary/`."""
    store_url: str = ""
    """Where the store lies instead: `s3://bucket/prefix` on any S3-compatible server, with credentials,
    region and endpoint from the usual environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
    AWS_ENDPOINT_URL). MODEL_DIR then holds local copies and the views. Default: MODEL_DIR itself."""
    cache_max_gb: Annotated[float, Field(gt=0)] = 20.0
    """How much of a store in a bucket is kept in MODEL_DIR, GB; what was not used lately goes first."""
    store_patience_seconds: Seconds = 20.0
    """How long a request to a store in a bucket is tried again before it counts as away, seconds."""
    data_dir: Path = Path("data")
    """Uploads, data sets, jobs. The controller reads the data sets, too: their held-out pairs may vouch."""
    output_dir: Path | None = None
    """Results of batch predictions. Default: DATA_DIR/outputs."""
    base_weights: Path | None = None
    """What comes first instead of the packaged base model: a directory with `.onnx` and `.pt` and their JSON,
    or an `.onnx` beside its contract.json, is version 1; a `.pt` beside its `.json` is trained from."""

    # Training
    img_size: Annotated[int, Field(ge=32, le=4096)] = 640
    """Largest side of the pictures in training, pixels. Smaller pictures are not scaled up. Serving obeys the
    manifest instead."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Training epochs, when nothing else is said."""
    batch: Annotated[int, Field(ge=1, le=512)] = 8
    """Pairs per training step, when nothing else is said."""
    trainer: str = "compact"
    """Who trains, when nothing else is said (`serinus trainers list`)."""
    train_threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of a training; 0 means one per core."""

    trainings_at_once: Annotated[int, Field(ge=1)] = 1
    """Trainings that the dashboard's queue runs at the same time; others wait."""
    train_memory_mb: Annotated[int, Field(ge=0)] = 1024
    """Memory that must be free before a queued training starts, MB; 0: it is not looked at."""
    job_templates: Path | None = None
    """In a Kubernetes cluster: the folder with train.yaml and prepare.yaml, of which the dashboard makes the
    Jobs of trainings, imports, demo data and the broken version (docs/replicas.md). Default: they are child
    processes of the dashboard."""
    uploads_keep_days: Annotated[float, Field(gt=0)] = 2.0
    """How long an upload that was cut off may wait for its rest, days."""

    # Addresses
    infer_host: str = "127.0.0.1"
    """Address that the inference service listens on."""
    infer_port: Port = 9000
    """Port of the inference service."""
    ui_host: str = "127.0.0.1"
    """Address that the dashboard listens on."""
    ui_port: Port = 8080
    """Port of the dashboard."""
    infer_url: str = ""
    """Where the dashboard and the controller's probes find the inference service.
    Default: http://127.0.0.1:INFER_PORT."""
    allowed_hosts: Names = ()
    """Host names, beside loopback ones, that requests may name; separated by commas: names (of an Ingress, of
    a Service), `*.example.org` for all below it, addresses of nodes, networks of them (`192.168.49.0/24`)."""
    tokens_file: Path | None = None
    """Tokens of who may change things from beyond loopback, as hashes with a name and a role each: the file
    that `serinus token` writes, or a mounted Secret. Read again when it changes. Default: DATA_DIR/tokens."""
    api_token: SecretStr | None = None
    """One token of an operator beside those of TOKENS_FILE. For `serinus rollout ... --server`: the token
    to send. With neither, changes from beyond loopback are refused."""
    anonymous_read: bool = True
    """Whether the dashboard and its API may be read from beyond loopback without a token; false: that takes
    a token of a viewer, too. Health, metrics and predictions of the inference service never take one."""
    trust_loopback: bool = True
    """Whether who connects from this machine's loopback address may do everything without a token. Set it to
    false where something on this machine passes on requests of others: a reverse proxy, a sidecar of a
    service mesh, the port forwarding of a rootless container."""
    take_feedback: bool = True
    """Whether the inference service takes ground truth (POST /feedback), the only thing that can be changed
    there."""
    server_url: str = ""
    """Dashboard that `serinus rollout` sends decisions to, instead of writing to the store itself."""

    # Signatures
    signing_key: Path | None = None
    """Private key (ed25519, PEM) that signs what is published here: by `serinus publish`, `serinus import`,
    trainings, and at the first start. Default: nothing is signed."""
    signing_key_password: SecretStr | None = None
    """Password of that key, where it is encrypted."""
    trusted_keys: Paths = ()
    """Public keys whose signatures count: PEM files, or folders with `*.pem`; separated by commas."""
    require_signature: bool = False
    """Whether a version must be signed with a trusted key before it gets traffic."""

    # Rollout policy: which one, and what the one named `default` says
    policy: str = DEFAULT.name
    """Name of the policy that a rollout gets when it starts by itself (`serinus policy list`). The settings
    that follow change the policy `default`; every other one is a document of its own."""
    window_seconds: Seconds = 180.0
    """Shortest evaluation of a canary, seconds."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of requests that the canary gets."""
    max_error_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """A canary whose error rate is above this, and above current's, is rolled back."""
    max_evaluation: Annotated[int, Field(ge=1)] = 5
    """Longest evaluation, windows."""
    on_insufficient: OnInsufficient = OnInsufficient.HOLD
    """What follows when the longest evaluation brought too little evidence: hold, promote or rollback."""
    on_new_version: OnNewVersion = OnNewVersion.QUEUE
    """What a version published during a rollout does: queue or supersede."""
    hold_for_seconds: Seconds = 3600.0
    """How long a held canary keeps its share, seconds."""
    rollback_window_seconds: Annotated[float, Field(ge=0)] = 600.0
    """How long the previous version stays loaded after a promotion, seconds."""
    probes: bool = True
    """Whether the controller sends probes when users bring too little evidence."""
    judge_latency: bool = True
    """Whether a canary that is slower than 1.2 times current is rolled back."""
    latency_floor_seconds: Annotated[float, Field(ge=0)] = 0.01
    """Latencies below this are all alike when versions are compared, seconds."""
    map50_margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Quality gate: how much mAP50 may be lost against current on any golden set (95 % bound)."""

    # Many replicas
    controller_lease: str = ""
    """In a Kubernetes cluster: name of the Lease that the working controller holds; others stand by
    (docs/replicas.md). Default: every controller works, which does no harm."""

    # Intervals
    tick_seconds: Seconds = 1.0
    """How often the controller looks, seconds."""
    sign_of_life: Path | None = None
    """File that the controller touches each time it has looked, for a liveness probe. Default: none."""
    poll_seconds: Seconds = 0.5
    """How often a replica reads the journal, seconds."""
    slice_seconds: Seconds = 1.0
    """Length of an evidence slice, seconds."""

    # Feedback
    keep_predictions: Annotated[int, Field(ge=0)] = 5000
    """Answers that each inference process keeps, for ground truth that comes later to judge; 0: none."""
    keep_pictures: bool = False
    """Whether the pictures of these answers are kept too: what is judged can then be trained on."""

    # Serving limits
    infer_workers: Annotated[int, Field(ge=0)] = 0
    """Worker processes per loaded version, each with one thread; 0 means one per core that this process may
    use (affinity, cgroup), fewer where memory is short, and one on a GPU. Loaded are current, a canary, and
    the previous version while it stands by for an undo; a shadow policy adds a worker to the first two."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What runs the models: cpu; cuda (an NVIDIA GPU, with the package onnxruntime-gpu in place of
    onnxruntime); auto: cuda where it works."""
    batch_wait_seconds: Annotated[float, Field(ge=0)] = 0.005
    """How long a request may wait for others to share a run of the model with, seconds; 0: never. It does so
    only where a version's first worker measured that batches pay; /model-status says which."""
    worker_memory_mb: Annotated[int, Field(ge=64)] = 4096
    """What a model may allocate in one worker process, MB; more fails the request, or ends the worker."""
    infer_memory_mb: Annotated[float, Field(ge=0)] = 0.0
    """What the inference service with all its workers may take, MB; a version is loaded beside another one
    only if it is expected to fit. 0: what the container or the machine has."""
    predict_timeout_seconds: Seconds = 10.0
    """How long a version may take over one pair, seconds; then the request counts as its failure."""
    load_timeout_seconds: Seconds = 120.0
    """How long a version may take to load, seconds."""
    queue_size: Annotated[int, Field(ge=1)] = 64
    """Requests that may wait for one version's workers; more get 503 with Retry-After. Four times as many may
    be in the service at once, uploads included."""
    drain_delay_seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long the inference service goes on taking requests after SIGTERM, while /readyz says 503, seconds:
    as long as a load balancer needs to notice. Then it answers what is in flight and ends."""
    model_name: str = "xview"
    """Name of the model in the Open Inference Protocol (`/v2/models/<name>`)."""
    max_body_mb: Annotated[float, Field(gt=0)] = 64.0
    """Largest request body of /predict, MB."""
    max_image_mp: Annotated[float, Field(gt=0)] = 50.0
    """Pictures of this many megapixels or more are refused."""
    max_held_mp: Annotated[float, Field(gt=0)] = 400.0
    """Decoded pictures that may be in memory at once, megapixels; more get 503 with Retry-After."""
    max_upload_mb: Annotated[float, Field(gt=0)] = 20_000.0
    """Largest upload of a data set or a batch, MB."""

    # Archives that people upload
    archive_max_files: Annotated[int, Field(ge=1)] = 200_000
    """Most members of an archive."""
    archive_max_gb: Annotated[float, Field(gt=0)] = 64.0
    """Largest archive when unpacked, GB."""
    archive_max_file_mb: Annotated[float, Field(gt=0)] = 256.0
    """Largest member of an archive when unpacked, MB."""
    archive_max_ratio: Annotated[int, Field(ge=1)] = 100
    """Largest ratio of unpacked to packed size; more is taken for a bomb."""

    # Trial runs before traffic
    trial_seconds: Seconds = 120.0
    """Time limit of the sandboxed trial run of a new version, seconds."""
    trial_memory_mb: Annotated[int, Field(ge=256)] = 2048
    """Memory limit of the sandboxed trial run of a new version, MB."""

    # MLflow
    mlflow_tracking_uri: SecretStr | None = None
    """Server that trainings are told to as runs, and outcomes, instead of the one that a version was imported
    from; may carry credentials. MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN are sent to this one only."""
    mlflow_alias: str = ""
    """Alias in MLflow that follows the version that is current, if that was imported. Empty: none is set."""
    mlflow_max_mb: Annotated[float, Field(gt=0)] = 2_000.0
    """Largest model, with all its files, that is imported from MLflow, MB."""
    # Models from elsewhere
    import_settle_seconds: Seconds = 10.0
    """A folder `canary/` or `current/` that somebody else's trainer writes is imported when it is complete
    and nothing in it moved for so long, seconds. On NFS more than the clients' attribute cache (60)."""
    import_give_up_seconds: Seconds = 1800.0
    """Such a folder in which a file is missing is moved away when nobody touched it for so long, seconds."""
    import_seconds: Seconds = 300.0
    """Time limit of one import, seconds."""
    import_memory_mb: Annotated[int, Field(ge=256)] = 4096
    """Memory limit of one import, MB."""

    # Logs
    log_format: Literal["text", "json"] = "text"
    """Logs for people (text) or machines (json)."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @property
    def bucket(self) -> str:
        """Address of the bucket that holds the store, as `s3://...`; empty when it lies in MODEL_DIR."""
        return self.store_url if urlsplit(self.store_url).scheme == "s3" else ""

    @property
    def store_dir(self) -> Path:
        """MODEL_DIR, or the folder that STORE_URL names."""
        return store_folder(self.store_url) or self.model_dir

    @property
    def outputs(self) -> Path:
        """Where batch results go."""
        return self.output_dir or self.data_dir / "outputs"

    @property
    def infer(self) -> str:
        """URL of the inference service, without a slash at the end."""
        return (self.infer_url or f"http://127.0.0.1:{self.infer_port}").rstrip("/")

    @property
    def tokens(self) -> Path:
        """The file with the hashes of tokens; it may be missing."""
        return self.tokens_file or self.data_dir / "tokens"

    @property
    def token(self) -> str:
        """The operator's token; empty when there is none."""
        return self.api_token.get_secret_value() if self.api_token else ""

    @property
    def import_limits(self) -> Limits:
        """What the import of a model from elsewhere may use."""
        return Limits(
            seconds=self.import_seconds,
            memory_mb=self.import_memory_mb,
            trial_seconds=self.trial_seconds,
            trial_memory_mb=self.trial_memory_mb,
        )

    @property
    def default_policy(self) -> Policy:
        """The policy named `default`: the documented one with these settings over it."""
        return msgspec.structs.replace(
            DEFAULT,
            share=self.share,
            window_seconds=self.window_seconds,
            max_error_rate=self.max_error_rate,
            max_evaluation=self.max_evaluation,
            on_insufficient=self.on_insufficient,
            on_new_version=self.on_new_version,
            hold_for_seconds=self.hold_for_seconds,
            rollback_window_seconds=self.rollback_window_seconds,
            probes=self.probes,
            judge_latency=self.judge_latency,
            latency_floor_seconds=self.latency_floor_seconds,
            map50_margin=self.map50_margin,
            require_signature=self.require_signature,
        )


def store_folder(url: str) -> Path | None:
    """The folder that a `file://` URL or a plain path names; None for an empty one or a bucket.

    Raises WrongSettings for any other address.
    """
    if "://" not in url:
        if url.startswith(("s3:", "s3//", "file:")):
            raise _no_address(url)
        return Path(url).expanduser() if url else None
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        return None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise _no_address(url)
    return Path(unquote(parts.path))


def _no_address(url: str) -> "WrongSettings":
    return WrongSettings(
        f"{url!r} is no address of a store.", remedy="Use s3://bucket/prefix, file:///folder or a path."
    )


class WrongSettings(Misconfigured):
    """A setting, from the environment or a flag, has a value that it cannot have."""


def load(**overrides: object) -> Settings:
    """Settings from the environment, with flags over them (a flag of None is not given).

    Raises WrongSettings with one line that names every wrong setting.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']} (given: {item['input']!r})"
            for item in error.errors()
        )
        raise WrongSettings(
            f"Wrong settings: {wrong}.", remedy="`serinus settings` lists what is allowed."
        ) from error
    store_folder(settings.store_url)
    if settings.require_signature and not settings.trusted_keys:
        raise WrongSettings(
            "REQUIRE_SIGNATURE is set, but no key is trusted, so no version could ever serve.",
            remedy="Let TRUSTED_KEYS name the public keys, or a folder with them as *.pem.",
        )
    if urlsplit(settings.infer).scheme not in ("http", "https"):
        raise WrongSettings(f"INFER_URL is not an http(s) URL: {settings.infer_url!r}.")
    return settings


def environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from their defaults, as environment variables for a child process."""
    found: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is None or value == field.default:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = ",".join(str(one.absolute()) if isinstance(one, Path) else one for one in value)
        elif isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, Path):
            value = value.absolute()
        found[name.upper()] = str(value)
    return found


@dataclass(frozen=True)
class Row:
    """One setting for people: its name as environment variable, its value, default and meaning."""

    name: str
    value: str
    default: str
    meaning: str


def rows(settings: Settings) -> list[Row]:
    """Every setting, in the order of the class; a secret's value is not shown."""
    return [
        Row(
            name=name.upper(),
            value=_words(getattr(settings, name)),
            default=_words(field.default),
            meaning=" ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    ]


def _words(value: object) -> str:
    if value is None or value == ():
        return "-"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
