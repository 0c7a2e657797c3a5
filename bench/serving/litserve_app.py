"""LitServe, one worker process a core. Arguments: port, workers."""

import sys

import litserve
from fastapi import Request
from pipeline import Pipeline


class Damage(litserve.LitAPI):
    def setup(self, _device: str) -> None:
        self.run = Pipeline()

    def decode_request(self, request: Request):
        return tuple(request[name].file.read() for name in ("pre_disaster", "post_disaster"))

    def predict(self, pair):
        return self.run(*pair)

    def encode_response(self, output):
        return {"found": output}


if __name__ == "__main__":
    server = litserve.LitServer(Damage(), accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
