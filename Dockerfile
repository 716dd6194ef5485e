# The decision service with the packages that it needs and no others (docs/serve.md#in-a-container).
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements-serve.txt constraints.txt ./
RUN python -m venv /venv \
  && /venv/bin/pip install --no-cache-dir --constraint constraints.txt --requirement requirements-serve.txt "psycopg[binary]"
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 largesse
COPY --from=build /venv /venv
USER 10001
WORKDIR /service
ENV LARGESSE_SERVER_HOST=0.0.0.0
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/venv/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["/venv/bin/python", "-m", "largesse.serving"]
CMD ["server.toml"]
