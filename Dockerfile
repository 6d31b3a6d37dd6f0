# First stage: a wheel of this tree, and a virtual environment with it and the pinned requirements.
FROM python:3.13-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /build
COPY requirements/build.txt requirements/run.txt requirements/
# The service's environment has no pip of its own: the one of the build environment fills it, and stays behind.
RUN python -m venv /opt/build \
    && python -m venv --without-pip /opt/handoff \
    && /opt/build/bin/pip install --no-deps --require-hashes --requirement requirements/build.txt \
    && /opt/build/bin/pip --python /opt/handoff/bin/python install --no-deps --require-hashes --requirement requirements/run.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/handoff/bin/python install --no-deps --no-index dist/handoff-*.whl

# Second stage: the environment, a user without rights, and a folder for the embedded store.
FROM python:3.13-slim

COPY --from=build /opt/handoff /opt/handoff
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin handoff \
    && install --directory --owner=handoff --group=handoff --mode=0750 /data

ENV PATH=/opt/handoff/bin:$PATH \
    HANDOFF_HOST=0.0.0.0 \
    HANDOFF_DATABASE_URL=sqlite:////data/handoff.db \
    HANDOFF_CALLBACK_POLICY=production \
    HANDOFF_LOG_FORMAT=json

WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://localhost:' + os.environ.get('HANDOFF_PORT', '8000') + '/livez', timeout=2)"]
CMD ["handoff", "serve"]
