#!/bin/sh
# One step of the Dockerfile: an environment with Serinus and its parts list, for an image.
#   image.sh FOLDER EXTRAS [ONNXRUNTIME]
# ONNXRUNTIME: what takes the place of onnxruntime, such as onnxruntime-gpu[cuda,cudnn].
set -eu
folder=$1 extras=$2 onnxruntime=${3:-}
constraints=/source/constraints.txt

pip() { /opt/build/bin/pip --python "$folder/bin/python" "$@"; }

python3 -m venv --without-pip "$folder"
# PIP_ARGS is a list of arguments.
# shellcheck disable=SC2086
pip install -q --no-compile ${PIP_ARGS:-} -c "$constraints" "/source[$extras]"
if [ -n "$onnxruntime" ]; then # both packages hold the same files
  pip uninstall -q -y onnxruntime
  # shellcheck disable=SC2086
  pip install -q --no-compile ${PIP_ARGS:-} "$onnxruntime"
fi
/opt/build/bin/cyclonedx-py environment --pyproject /source/pyproject.toml --mc-type application \
  --output-reproducible --of JSON -o "$folder/sbom.cdx.json" "$folder/bin/python"
# The libraries' own tests are 41 MB of an image. A process in a read-only file system could not keep its bytecode; what
# is hardly ever imported is read without.
find "$folder/lib" -depth -type d -name tests -exec rm -rf {} +
python3 -m compileall -q -j 0 -x '/(fontTools|onnxruntime/transformers|onnxruntime/tools|pygments/lexers)/' \
  "$folder/lib" >/dev/null || true # some libraries bring files of another Python
