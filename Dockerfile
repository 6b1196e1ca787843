# syntax=docker/dockerfile:1
# The server of docs/deploy.md: the base install with [cpu,serve], no torch, not root. The bundle is mounted at /bundle:
#   docker build -t crosstune-serve .
#   docker run --rm -p 8080:8080 -v "$PWD/support.bundle:/bundle:ro" crosstune-serve
# A tag may be moved to another image. For the same base each time, this command replaces it by the digest of today's image:
#   make image-base
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
WORKDIR /source
COPY pyproject.toml image.lock README.md LICENSE ./
COPY crosstune crosstune
COPY crosstune_export crosstune_export
COPY cli cli
# Exactly the locked files, then this project, which brings no other package.
RUN python -m venv /opt/crosstune \
 && /opt/crosstune/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r image.lock \
 && /opt/crosstune/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
 && /opt/crosstune/bin/pip uninstall --yes --quiet setuptools

FROM ${BASE}
COPY --from=build /opt/crosstune /opt/crosstune
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin crosstune
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["/opt/crosstune/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready', timeout=2)"]
STOPSIGNAL SIGTERM
# In the container every address is its own: who may come in is decided by -p.
ENTRYPOINT ["/opt/crosstune/bin/crosstune-export", "serve", "/bundle", "--host", "0.0.0.0", "--port", "8080"]
