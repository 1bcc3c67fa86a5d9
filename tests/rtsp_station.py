"""An RTSP camera (RFC 2326) with RTP interleaved in the connection; implements only what a player needs."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Self

import av


class RtspStation:
    """Plays one video to one client, in real time, and disconnects. FFmpeg's RTP muxer makes the packets."""

    def __init__(self, video: Path) -> None:
        self._video = video
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/camera"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _run(self) -> None:
        caller, _ = self._server.accept()
        with caller, caller.makefile("rb") as lines:
            while self._answer(caller, lines) != "PLAY":
                pass
            self._play(caller)

    def _answer(self, caller: socket.socket, lines: object) -> str:
        """Answer one request; returns its method."""
        request = []
        while (line := lines.readline().decode().strip()) or not request:  # type: ignore[attr-defined]
            request.append(line)
        method = request[0].partition(" ")[0]
        number = next(line.partition(":")[2].strip() for line in request if line.lower().startswith("cseq"))
        head, body = {"CSeq": number, "Session": "1"}, ""
        if method == "OPTIONS":
            head["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
        elif method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
            head |= {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP":
            head["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
        answer = "RTSP/1.0 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items())
        caller.sendall(f"{answer}\r\n{body}".encode())
        return method

    def _play(self, caller: socket.socket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", 0))
            packets.settimeout(0.02)
            address = f"rtp://127.0.0.1:{packets.getsockname()[1]}?rtcpport=1&pkt_size=1400"
            with av.open(str(self._video)) as container, av.open(address, "w", format="rtp") as output:
                copy = output.add_stream_from_template(container.streams.video[0])
                # H.264 over RTP has its parameter sets in the stream.
                annexb = av.BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0], copy)
                began = time.monotonic()
                for packet in container.demux(video=0):
                    if packet.size and packet.dts is not None:
                        time.sleep(max(0.0, began + float(packet.dts * packet.time_base) - time.monotonic()))
                    for part in annexb.filter(packet if packet.size else None):
                        part.stream = copy
                        output.mux(part)
                    self._forward(packets, caller)

    def _forward(self, packets: socket.socket, caller: socket.socket) -> None:
        """RFC 2326, section 10.12: a dollar sign, the channel, the length, the packet."""
        while True:
            try:
                packet = packets.recv(65536)
            except TimeoutError:
                return
            caller.sendall(b"$\x00" + len(packet).to_bytes(2, "big") + packet)
