# Two stages: wheels are installed where compilers may be, and run where they are not.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/entrepot
COPY requirements.lock ./
RUN /opt/entrepot/bin/pip install --no-cache-dir -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY storage storage
RUN /opt/entrepot/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home entrepot
COPY --from=build /opt/entrepot /opt/entrepot
ENV PATH=/opt/entrepot/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ENTREPOT_SERVER__HOST=0.0.0.0
USER entrepot
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('ENTREPOT_SERVER__PORT', '8080') + '/readyz', timeout=4)"]
# A configuration is read from /data/entrepot.toml; without one the embedded default runs.
CMD ["entrepot", "serve"]
