# Two images of one source: `serve` (infer, ui, controller; no torch) and `train` (the jobs). `make images` builds both with
# docker, podman or buildah. Nothing here needs an extension of one of them.

# The index digest of python:3.11-slim-bookworm (Python 3.11.16). Whoever moves it moves everything below with it.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
# PIP_ARGS: further arguments of pip, such as --extra-index-url of PyTorch's CPU wheels, or of a mirror.
ARG PIP_ARGS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# pip and what makes the parts list stay here: the images have only what runs.
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install -q ${PIP_ARGS} 'pip==26.2' 'setuptools>=77' 'cyclonedx-bom==7.5.0'
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src

FROM build AS build-serve
ARG PIP_ARGS=
# Add `opencv` for OpenCV's decoders and scaling (153 MB more); `onnxruntime-gpu[cuda,cudnn]` in ONNXRUNTIME for a GPU.
ARG SERVE_EXTRAS=serve,ui,measure,s3,kubernetes
ARG ONNXRUNTIME=
COPY tools/image.sh /usr/local/bin/image.sh
RUN image.sh /opt/serinus "${SERVE_EXTRAS}" "${ONNXRUNTIME}"

FROM build AS build-train
ARG PIP_ARGS=
ARG TRAIN_EXTRAS=train,s3
COPY tools/image.sh /usr/local/bin/image.sh
RUN image.sh /opt/serinus "${TRAIN_EXTRAS}"

FROM ${BASE} AS runtime
ARG BASE
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Serinus" \
      org.opencontainers.image.description="Train, version, canary and serve computer-vision models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
# The numbers, not names: Kubernetes can only tell that a number is not root.
RUN mkdir -p /models /data /output && chown 10001:10001 /models /data /output
ENV PATH=/opt/serinus/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 HOME=/tmp MPLCONFIGDIR=/tmp \
    MODEL_DIR=/models DATA_DIR=/data OUTPUT_DIR=/output INFER_HOST=0.0.0.0 UI_HOST=0.0.0.0
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["serinus"]

FROM runtime AS train
LABEL org.opencontainers.image.title="Serinus, trainings and imports"
COPY --from=build-train /opt/serinus /opt/serinus
CMD ["train"]

FROM runtime AS serve
LABEL org.opencontainers.image.title="Serinus, inference, dashboard and controller"
COPY --from=build-serve /opt/serinus /opt/serinus
EXPOSE 9000 8080
CMD ["infer"]
