FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore MPLCONFIGDIR=/tmp/matplotlib OMP_NUM_THREADS=1
WORKDIR /app

# torch first and alone. The argument is for those who want another build of it than their package index gives.
ARG TORCH_INDEX_URL=
RUN pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch==2.13.0

# The requirements before the sources: a change of the code does not install them again.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md && pip install -c constraints.txt -e .

COPY alembic.ini ./
COPY alembic alembic
COPY hrmodel hrmodel
COPY service service
COPY worker worker
RUN pip install --no-deps -e . && python -m compileall -q alembic hrmodel service worker

# An empty volume takes the owner and mode of the folder that it is mounted on, at every place where it is mounted.
RUN useradd --system --uid 10001 --home-dir /data app \
    && install -d -o app -g app -m 700 /data /secrets /init/app \
    && install -d -o app -g app -m 755 /init/postgres /init/redis
USER app
EXPOSE 8000
CMD ["stagewise", "api"]
