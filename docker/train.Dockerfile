# Synthesis, training and evaluation, on a CPU or on NVIDIA GPUs.
#
#   docker build --file docker/train.Dockerfile --tag fspo-train .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" fspo-train synthesize reviews --out reviews
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" --gpus all --shm-size 8g \
#       fspo-train train --data reviews --out policy
FROM python:3.13.9-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    FSPO_CACHE=/cache/fspo HF_HOME=/cache/huggingface HOME=/cache

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints.txt '.[hub,synthesis]' \
    && useradd --uid 10001 fspo \
    && install --directory --owner fspo --mode 1777 /cache /work

USER 10001
WORKDIR /work
VOLUME /cache
# It is a job, and no server.
HEALTHCHECK NONE
ENTRYPOINT ["fspo"]
CMD ["--help"]
