# Not built yet: it was written on a machine without a Docker daemon.
# `animevid serve` on a CPU:  docker build -t animevid . && docker run --init -p 127.0.0.1:8080:8080 animevid
#   It prints its token; the page is http://127.0.0.1:8080/?token=... Live video needs a browser that reaches the
#   container's own address: on Linux it does, with Docker Desktop give --network host.
# On an NVIDIA GPU (driver 580 or newer; tensorrt in place of tensorrt-rtx for H100 and H200, see docs/gpu.md):
#   docker build --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg EXTRAS=live,tensorrt-rtx -t animevid .
#   docker run --init --gpus all -p 127.0.0.1:8080:8080 animevid
# A file:  docker run --rm --no-healthcheck --user "$(id -u):$(id -g)" -v "$PWD:/videos" animevid /videos/in.mp4 /videos/out.mp4
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
# "video" brings the driver's encoder and decoder, which NVIDIA's images leave out.
ENV PATH=/opt/animevid/bin:$PATH NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER viewer
WORKDIR /home/viewer
EXPOSE 8080
# The one page that asks for no token. That the port is open would not say that anybody answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/style.css', timeout=4)"
ENTRYPOINT ["animevid"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
