# Two stages: wheels are installed where compilers may be, and run where they are not.
# Nothing is written but /data and /tmp:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -v entrepot:/data -p 8080:8080 entrepot
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/entrepot && python -m venv /opt/build
COPY requirements.lock requirements-build.lock ./
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
RUN /opt/entrepot/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY storage storage
RUN /opt/build/bin/python -m hatchling build -t wheel -d dist \
    && /opt/entrepot/bin/pip install --no-cache-dir --no-index --no-deps dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home entrepot
COPY --from=build /opt/entrepot /opt/entrepot
ENV PATH=/opt/entrepot/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENTREPOT_SERVER__HOST=0.0.0.0
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('ENTREPOT_SERVER__PORT', '8080') + '/readyz', timeout=4)"]
# A configuration is read from /data/entrepot.toml; without one the embedded default runs.
CMD ["entrepot", "serve"]
