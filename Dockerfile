FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore MPLCONFIGDIR=/tmp/matplotlib OMP_NUM_THREADS=1
WORKDIR /app

# Every package by its hash, as `make lock` wrote them. torch first and alone: the argument is for those who want another
# build of it than the package index has (then without hashes: they are of the index's own files).
ARG TORCH_INDEX_URL=
COPY requirements-torch.lock ./
RUN if [ -n "$TORCH_INDEX_URL" ]; then pip install --index-url "$TORCH_INDEX_URL" torch==2.13.0; \
    else pip install --require-hashes -r requirements-torch.lock; fi

# The requirements before the sources: a change of the code, or of its version, does not install them again.
COPY requirements.lock ./
RUN pip install --require-hashes --no-deps -r requirements.lock

COPY pyproject.toml LICENSE alembic.ini ./
COPY alembic alembic
COPY hrmodel hrmodel
COPY service service
COPY worker worker
RUN touch README.md && pip install --no-deps --no-build-isolation -e . && pip check \
    && python -m compileall -q alembic hrmodel service worker

# An empty volume takes the owner and mode of the folder that it is mounted on, at every place where it is mounted.
RUN useradd --system --uid 10001 --home-dir /data app \
    && install -d -o app -g app -m 700 /data /secrets /init/app \
    && install -d -o app -g app -m 755 /init/postgres /init/redis
USER app
EXPOSE 8000
CMD ["stagewise", "api"]
