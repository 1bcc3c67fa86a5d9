# Not built yet: it was written on a machine without a Docker daemon.
# `animevid serve` on a CPU:  docker build -t animevid . && docker run -p 127.0.0.1:8080:8080 animevid
# On an NVIDIA GPU:           docker build --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg EXTRAS=live,gpu -t animevid .
#                             docker run --gpus all -p 127.0.0.1:8080:8080 animevid
# A file:                     docker run --rm -v "$PWD:/films" animevid /films/in.mp4 /films/out.mp4
ARG BASE=ubuntu:24.04
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG EXTRAS=live
RUN python3 -m venv /opt/animevid && /opt/animevid/bin/pip install --no-cache-dir ".[${EXTRAS}]"

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home viewer
COPY --from=build /opt/animevid /opt/animevid
ENV PATH=/opt/animevid/bin:$PATH
USER viewer
WORKDIR /home/viewer
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD python3 -c "import socket; socket.create_connection(('127.0.0.1', 8080), 3).close()"
ENTRYPOINT ["animevid"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
