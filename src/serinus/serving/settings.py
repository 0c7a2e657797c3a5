"""What the inference service may use and how long it waits; `serinus.bootstrap` gives the values."""

from dataclasses import dataclass
from pathlib import Path

from serinus.core.enums import Device

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """Limits of one replica. Defaults are the documented ones."""

    outputs: Path
    """Folder of batch results."""
    replica: str = "infer"
    """Name of this replica in heartbeats and evidence; a fresh id is added for each start."""
    url: str = ""
    """Where this replica can be asked, for heartbeats; empty when unknown."""

    model_name: str = "xview"
    """Name of the model in the Open Inference Protocol (setting MODEL_NAME)."""

    poll_seconds: float = 0.5
    """How often the journal is read, seconds."""
    slice_seconds: float = 1.0
    """Length of an evidence slice, seconds."""
    heartbeat_seconds: float = 2.0
    """How often a heartbeat is written when nothing changed, seconds."""

    predict_timeout_seconds: float = 10.0
    """How long a version may take over one pair, seconds; as long again it may wait in the queue, and as long
    before for its pictures to be read."""
    load_timeout_seconds: float = 120.0
    """How long a version may take to load and to run once, seconds."""
    retry_load_seconds: float = 30.0
    """After this many seconds a current version that failed to load is tried again."""
    workers: int = 1
    """Worker processes per loaded version."""
    worker_threads: int = 1
    """CPU threads that one picture may use in a worker."""
    device: Device = Device.CPU
    """What runs the models."""
    batch_wait_seconds: float = 0.005
    """How long a request may wait for others to share a run with, where that pays, seconds; 0: never."""
    worker_memory_bytes: int = 4 << 30
    """What a model may allocate in its worker (or on the GPU), bytes."""
    memory_bytes: int = 0
    """What this process and its workers may take together, bytes (setting INFER_MEMORY_MB); 0: what the
    container or the machine has."""
    worker_nice: int = 10
    """Niceness added while a version loads."""
    start_limit: int = 4
    """So many starts of a version's workers that fail in a row are a load failure."""
    crash_limit: int = 6
    """So many deaths of a canary's workers in a row, without an answer between, are a load failure."""
    queue_size: int = 64
    """Requests that may wait for one version's workers, beside those that another version failed."""
    shadow_nice: int = 19
    """Niceness of the workers for shadow pairs, which nobody waits for."""
    shadow_queue: int = 4
    """Answered requests that may wait for their shadow; more are dropped."""
    shadow_queue_bytes: int = 64 << 20
    """What they may hold, bytes."""
    shadow_report_seconds: float = 2.0
    """How often what shadow pairs said is written to the store, seconds."""
    max_requests: int = 256
    """Requests that may be in the service at once, uploads included; more get 503. Twice the queues of two
    versions, so that one whose queue is full leaves room for the other's."""
    max_bytes_held: int = 1000 * MEGABYTE
    """Bytes of bodies in memory at once; more get 503. A body without a length counts as the longest."""
    max_batches: int = 4
    """Batches that may be worked on at once, uploads included; more get 503."""
    decode_threads: int = 2
    """Threads that decode, fit and draw pictures."""

    take_feedback: bool = True
    """Whether ground truth is taken (setting TAKE_FEEDBACK)."""
    max_body_bytes: int = 64 * MEGABYTE
    """Longest body of a request, bytes (setting MAX_BODY_MB)."""
    max_image_pixels: int = 50 * MEGABYTE - 1
    """Most pixels of a picture (setting MAX_IMAGE_MP)."""
    max_pixels_held: int = 400 * MEGABYTE
    """Pixels of decoded pictures in memory at once (3 bytes each, twice that while a pair is stacked); more
    get 503. Four of the largest pairs find room, as many as one batch works on at once."""
    max_upload_bytes: int = 2000 * MEGABYTE
    """Longest body of a batch, bytes (setting MAX_UPLOAD_MB)."""
    max_batch_pairs: int = 5000
    """Most pairs in one batch."""
    batch_concurrency: int = 4
    """Pairs of one batch that are worked on at once."""
    keep_predictions: int = 5000
    """Answers of this process that are kept for feedback; 0: none (setting KEEP_PREDICTIONS)."""
    keep_pictures: bool = False
    """Whether their pictures are kept too (setting KEEP_PICTURES)."""
    outputs_kept: int = 50
    """Batch results that are kept; the oldest go first."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, beside loopback ones, that requests may name (setting ALLOWED_HOSTS)."""

    @property
    def deadline_seconds(self) -> float:
        """A request that is not settled after this many seconds is a failure of its arm."""
        return 2 * self.predict_timeout_seconds + 1.0

    @property
    def longest_seconds(self) -> float:
        """Every admitted request of a pair is answered after so many seconds: the wait for its pictures to be
        read, its version's time and, where that failed, the other one's."""
        return self.predict_timeout_seconds + 2 * self.deadline_seconds
