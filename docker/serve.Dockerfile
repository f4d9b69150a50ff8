# The assistant (`fspo serve`) on a CPU, with the embedded model inside.
#
#   docker build --file docker/serve.Dockerfile --tag fspo-serve .
#   docker run --rm --volume fspo:/data fspo-serve keys add me --database /data/assistant.db
#   docker run --publish 127.0.0.1:8000:8000 --volume fspo:/data fspo-serve
#
# Inside a container the server listens on all addresses, so that it wants a key first. For a policy
# of yours add: --volume "$PWD/policy:/policy:ro" ... fspo-serve serve --host 0.0.0.0 \
#   --database /data/assistant.db --policy /policy
FROM python:3.13.9-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints.txt '.[serve]' \
    && useradd --create-home --uid 10001 fspo \
    && install --directory --owner fspo /data

USER 10001
WORKDIR /data
RUN python -c 'import fspo; fspo.load_model()'
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/login', timeout=4)"]
ENTRYPOINT ["fspo"]
CMD ["serve", "--host", "0.0.0.0", "--database", "/data/assistant.db"]
